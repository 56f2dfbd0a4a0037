"""The same job as a dlt pipeline: its own HTTP client with its retries, merged into SQLite.

Usage: pipeline.py LIST STORE URL IN_FLIGHT

dlt looks emails up on IN_FLIGHT threads, flattens devices and orders into child tables and merges by
the customer's id.
"""

import csv
import os
import sys

import dlt
from dlt.sources.helpers import requests


def main(path, store, url, in_flight):
    os.environ["EXTRACT__WORKERS"] = in_flight
    os.environ["EXTRACT__MAX_PARALLEL_ITEMS"] = in_flight
    # SQLite takes one writer.
    os.environ["LOAD__WORKERS"] = "1"
    # dlt reports usage to its makers unless it is turned off.
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    session = requests.Client(raise_for_status=False)
    headers = {"x-api-key": os.environ["TELEMETRON_API_KEY"]}

    @dlt.resource(name="emails", selected=False)
    def emails():
        with open(path, newline="") as file:
            yield from dict.fromkeys(row["email"].strip().lower() for row in csv.DictReader(file))

    # Free-form metadata stays JSON: as columns, its numbers beyond 64 bits would end the load.
    @dlt.transformer(data_from=emails, name="customers", primary_key="id", write_disposition="merge",
                     columns={"metadata": {"data_type": "json"}}, parallelized=True)
    def customers(email):
        response = session.post(f"{url}/customer/queryCustomer", json={"email": email}, headers=headers)
        if response.status_code == 404:
            return None
        response.raise_for_status()
        return response.json()

    pipeline = dlt.pipeline("customers", destination=dlt.destinations.sqlalchemy(f"sqlite:///{store}"),
                            dataset_name="main", pipelines_dir=f"{store}.pipeline")
    print(pipeline.run(customers))


if __name__ == "__main__":
    main(*sys.argv[1:])
