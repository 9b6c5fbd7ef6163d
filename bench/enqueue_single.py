"""Enqueues jobs one by one, as a helpdesk would: ``python -m bench.enqueue_single JOBS``."""

import sys

from bench.place import PROVIDER_ID
from bench.prompts import prompt
from producer import Producer

if __name__ == "__main__":
    with Producer.from_env() as producer:
        for number in range(int(sys.argv[1])):
            producer.enqueue("complete", {"prompt": prompt(number)}, provider=PROVIDER_ID)
