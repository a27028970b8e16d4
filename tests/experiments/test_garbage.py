"""While a run starts nobody looks for garbage; afterwards all is as it was."""

import contextlib
import gc
import weakref

import pytest

from experiments import garbage


class Knot:
    def __init__(self):
        self.itself = self


@pytest.fixture(autouse=True)
def collector():
    gc.collect()
    yield
    gc.unfreeze()
    gc.enable()


def test_the_search_goes_on_among_what_comes_later():
    with garbage.paused():
        assert not gc.isenabled()
        before = weakref.ref(Knot())
        garbage.go_on()
        assert gc.isenabled()
        after = weakref.ref(Knot())
        gc.collect()
        assert before() is not None, "what was there is left alone"
        assert after() is None
    gc.collect()
    assert before() is None
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("is_on", [True, False])
def test_it_ends_as_it_began_also_by_an_error(is_on):
    (gc.enable if is_on else gc.disable)()
    for starts in (garbage.go_on, int):
        with contextlib.suppress(KeyError), garbage.paused():
            starts()
            raise KeyError
        assert gc.isenabled() == is_on
