"""Publish synthetic transactions to Kafka: `python publish_test_data_to_kafka.py --help`."""

from activity_loadgen.cli import main

if __name__ == "__main__":
    main(prog_name="publish_test_data_to_kafka.py")
