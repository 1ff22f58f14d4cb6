"""Entry of a worker process: `python -m ingressd.proxy --link-fd N --listen-fd M ... --tls-listen-fd M ...`, started by
the controller."""

import argparse

from ingressd.proxy.worker import main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="ingressd.proxy", description=__doc__)
    parser.add_argument("--link-fd", type=int, required=True)
    parser.add_argument("--listen-fd", type=int, action="append", required=True)
    parser.add_argument("--tls-listen-fd", type=int, action="append", default=[])
    options = parser.parse_args()
    main(options.link_fd, options.listen_fd, options.tls_listen_fd)
