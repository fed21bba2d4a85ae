"""hibari's own package, version 0.2.1, in one thread: what its network, dictionaries and signal processing cost.

Each line of standard input is a text as JSON; the answer is a line of JSON, the seconds of sound (which it does not
trim) and of the processor.
"""

import json
import sys
import time

from hibari import Hibari


def main() -> None:
    """Speak until the input ends."""
    voice = Hibari(threads=1)
    for line in sys.stdin:
        begin = time.process_time()
        samples = sum(len(piece) for piece in voice.stream(json.loads(line)))
        print(json.dumps([samples / voice.sample_rate, time.process_time() - begin]), flush=True)


if __name__ == "__main__":
    main()
