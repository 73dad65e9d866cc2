# The sample of VMmanager 6's API guide for code 503, with what its text lost (imports, a return), and one call of it.
import logging
import sys
import time

import requests


def retry(fn, **kwargs):
    response = fn(**kwargs)
    if response.status_code == 503:
        for attempt in range(1, 11):
            time.sleep(0.1 * attempt)
            logging.info(f'Try connect to {kwargs["url"]} number {attempt}')
            response = fn(**kwargs)
            if response.status_code != 503:
                return response
    return response


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    response = retry(requests.get, url=sys.argv[1] + "/vm/v3/host", headers={"x-xsrf-token": sys.argv[2]})
    print(response.status_code, response.json()["size"])
