"""The SIEM, EDR and SOAR from Python: a small playbook of one's own. `python examples/console.py`."""

import soc_env

RISK_TO_ACT = 0.8


def main(minutes: int = 200) -> None:
    env = soc_env.parallel_env("soc-v1", max_steps=minutes)
    env.reset(seed=0)
    soc = env.console
    while env.agents:
        for case in soc.siem.cases()[:1]:  # the first case by rank
            if case["enriched"]:
                soc.siem.escalate(case) if case["reading"] > 0.6 else soc.siem.suppress(case)
            else:
                soc.siem.enrich(case)
        soc.edr.hunt("datacenter", intensity=0.5)
        for host in soc.siem.hosts()[:1]:  # the most suspect host
            if host["risk"] > RISK_TO_ACT:
                soc.soar.reimage(host)
        soc.advance()
    calls = env.audit()
    print(f"{len(calls)} calls, the last: {calls[-1]}")
    print(f"mission score {env.metrics()['score']:.1f}")


if __name__ == "__main__":
    main()
