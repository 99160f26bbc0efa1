"""``python -m tests.sim SEED`` tells a story; ``python -m tests.sim --seeds 0-9999`` counts what many come to."""

import argparse
import sys
import time

from tests.sim.story import Story, Summary


def main() -> int:
    """Tell one story, or count many. 1 if a rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("seed", nargs="?", type=int, help="tell the story of this seed")
    parser.add_argument("--seeds", metavar="FROM-TO", default="0-199", help="count these, the last one included")
    given = parser.parse_args()
    if given.seed is not None:
        told = Story(given.seed, _tell).run()
        print(f"seed {told.seed}: {told.events} events; {told.broken or 'all rules hold'}")
        return int(bool(told.broken))
    first, _, last = given.seeds.partition("-")
    began = time.process_time()
    summary = Summary.of(range(int(first), int(last or first) + 1))
    print(summary)
    print(f"{(time.process_time() - began) / max(summary.seeds, 1) * 1000:.1f} ms of CPU a seed", file=sys.stderr)
    return int(bool(summary.broken))


def _tell(now: float, who: str, what: str) -> None:
    print(f"{now:12.3f}  {who:14} {what}")


if __name__ == "__main__":
    sys.exit(main())
