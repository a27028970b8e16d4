# Sourced by the scripts of this folder; the arguments are the packages to install.
# Makes a temporary folder, removed at the end, and in it a virtual environment; sets `python` to its interpreter.
#     PYTHON           the interpreter to start from, python3 by default
#     FINDINGS_PYTHON  an interpreter that has the packages already: nothing is installed
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${FINDINGS_PYTHON:-$folder/venv/bin/python}
if [ -z "${FINDINGS_PYTHON:-}" ]; then
    "${PYTHON:-python3}" -m venv "$folder/venv"
    "$python" -m pip install --quiet --disable-pip-version-check "$@"
fi
# Ray keeps its sessions in RAY_TMPDIR and a token in HOME: neither may be this user's, nor may a running Ray be
#     joined.
export RAY_TMPDIR=$folder HOME=$folder RAY_USAGE_STATS_ENABLED=0 RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0
export PYTHONWARNINGS=ignore TUNE_DISABLE_AUTO_CALLBACK_LOGGERS=1
unset RAY_ADDRESS PYTHONPATH
cd "$folder"
