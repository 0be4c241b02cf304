"""`recae serve`: a model as an HTTP API with a web page."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

import click

from recae.cli.help import Command, under
from recae.cli.options import (
    approximate_option,
    count_option,
    journal_option,
    list_rules_option,
    model_option,
)
from recae.cli.output import message
from recae.cli.purchases import item_source, items_options
from recae.errors import ConfigError


@click.command(cls=Command)
@model_option
@items_options
@under(
    "Connections",
    click.option(
        "--host",
        default="127.0.0.1",
        show_default=True,
        help="The address to listen on; 0.0.0.0 is every one.",
    ),
    click.option(
        "--port",
        type=click.IntRange(0, 65_535),
        default=8000,
        show_default=True,
        metavar="N",
        help="The port; 0 takes a free one, which is printed.",
    ),
    click.option(
        "--token",
        metavar="TEXT",
        help="Ask every request for it; better given as $RECAE_TOKEN, since others see a command's options.",
    ),
    click.option(
        "--allowed-hosts",
        metavar="NAMES",
        help="Further hosts that requests may be for, with commas between them: shop.example.com, *.example.com; "
        "* is any.  [default: the address of --host and localhost]",
    ),
)
@under(
    "Limits",
    count_option(
        "--workers", default=1, help="Processes that answer, on one port and with one model in memory."
    ),
    count_option("--threads", default=1, help="Threads of the linear algebra, of each worker."),
    count_option(
        "--queue",
        default=512,
        help="Requests that may wait, of each worker; others are refused with 503.",
    ),
    count_option("--max-body", default=2**20, metavar="BYTES", help="The largest body of a request."),
    count_option(
        "--max-connections",
        help="Connections open at the same time, of all workers.  [default: 4,096, or what ulimit -n leaves room for]",
    ),
    count_option(
        "--max-per-address",
        help="Connections of one address.  [default: 1,024, and at most three quarters of all]",
    ),
)
@under(
    "Running",
    approximate_option,
    list_rules_option,
    journal_option(
        help="Take purchases at POST /purchases into this file, made where there is none; they count at once.",
    ),
    click.option(
        "--reload/--no-reload",
        default=True,
        show_default=True,
        help="Load the model file anew when it changes.",
    ),
    click.option(
        "--image-hosts",
        metavar="NAMES",
        default="",
        help="Hosts from which the page may load the products' pictures, with commas between them: "
        "cdn.example.com, *.example.com.  [default: none, and no picture is loaded]",
    ),
    click.option(
        "--beside",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="A second model: the page shows both lists of a customer side by side. It is not loaded anew.",
    ),
    click.option("--access-log", is_flag=True, help="Log every request on stderr; paths hold ids of users."),
)
def serve(
    model_path: Path,
    host: str,
    port: int,
    token: str | None,
    allowed_hosts: str | None,
    workers: int,
    threads: int,
    queue: int,
    max_body: int,
    max_connections: int | None,
    max_per_address: int | None,
    reload: bool,
    access_log: bool,
    approximate: bool,
    rules: Path | None,
    items_table: str | None,
    items_columns: str | None,
    journal: Path | None,
    image_hosts: str,
    beside: Path | None,
) -> None:
    """Serve a model over HTTP: a JSON API at /docs, a page at /.

    \b
      recae serve
      recae serve --model model.recae --port 9000
      curl -H 'Content-Type: application/json' -d '{"user": "42"}' localhost:8000/recommend

    Needs pip install 'recae[serve]'. Only programs on this machine can connect, unless --host says otherwise.
    With $RECAE_TOKEN set, requests need the header 'Authorization: Bearer TOKEN'. Requests must be for the address of
    --host or localhost, so that no foreign web page reads the server by DNS rebinding; behind a reverse proxy that
    passes on the Host header, give its name with --allowed-hosts.

    When the model file is replaced, the new one answers from then on, without a request failing; a file that
    cannot be used is refused, and the model in use goes on. Ctrl-C and SIGTERM end the server once what is
    under way is answered; the exit codes are 130 and 143.

    With --journal, purchases that are posted are on the disk before they are acknowledged, and the customer's next
    recommendation knows them; `recae update --journal` puts them into the model.

    --rules rules.toml says what all lists may hold; requests may ask for diversity, too.

    The page shows products with price and category, and filters by these, where the model has a table of them (recae
    items); pictures with --image-hosts. --beside other.recae sets a second model next to this one.

    --workers N uses more processors: N processes answer on the same port, so that no proxy is needed for that. A
    worker that dies is replaced, and the log says so.
    """
    from recae.serving.hosts import parse_hosts, parse_image_hosts
    from recae.serving.server import bind, check_installed
    from recae.serving.server import serve as serve_on

    read = None
    if rules is not None:
        from recae.insight.listings import NONE
        from recae.list_rules import ListRules, read_list_rules

        if approximate and str(rules) != NONE:
            raise ConfigError("--approximate knows no --rules: leave one of them out")
        read = ListRules() if str(rules) == NONE else read_list_rules(rules)
    products = item_source(items_table, items_columns)
    pictures = parse_image_hosts(image_hosts)
    token = _checked(os.environ.get("RECAE_TOKEN") or None if token is None else token)
    check_installed()
    listener = bind(host, port)
    address, taken = listener.getsockname()[:2]
    try:
        hosts = parse_hosts(
            [name.strip() for name in (allowed_hosts or "").split(",") if name.strip()], address
        )
    except ConfigError:
        listener.close()
        raise
    if token is None and not _is_loopback(address):
        message(
            f"warning: everybody who reaches {address} can read this model and its users' purchases; "
            "set $RECAE_TOKEN, or leave out --host"
        )
    shown = f"[{address}]" if ":" in address else address

    def started(what: str) -> None:
        message(f"serving {model_path} ({what}) on http://{shown}:{taken}/")

    from recae.cli.handler import log_server

    log_server(access_log)
    try:
        serve_on(
            model_path,
            listener,
            token=token,
            hosts=hosts,
            workers=workers,
            threads=threads,
            queue=queue,
            max_body=max_body,
            max_connections=max_connections,
            max_per_address=max_per_address,
            reload=reload,
            access_log=access_log,
            approximate=approximate,
            journal=journal,
            rules=read,
            items=products,
            image_hosts=pictures,
            beside=beside,
            on_start=started,
        )
    except BaseException as error:  # Ctrl-C and SIGTERM come out of the orderly end
        error.add_note("the server has stopped")
        raise


def _checked(token: str | None) -> str | None:
    """Return the token.

    Raises:
        ConfigError: for one that no header can carry.
    """
    if token is not None and (not token.isascii() or not token.isprintable() or not token or " " in token):
        raise ConfigError(
            "the token must be printable ASCII without spaces, since a header carries it; make one with "
            "'openssl rand -hex 32'"
        )
    return token


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
