"""`AllowedHosts`: the names under which the server answers, so that no foreign page reads it by DNS rebinding."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from recae.errors import ConfigError

ANY = "*"
_IMAGE_HOST = re.compile(
    r"(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:[0-9]{1,5})?"
)


@dataclass(frozen=True)
class AllowedHosts:
    """Names and addresses that the Host header of a request may give; ports do not matter.

    A foreign web page can point its own name to this machine, and read what a server here answers to that name (DNS
    rebinding). It cannot do so with an address, nor with a name that is not its own.

    Attributes:
        names: in lower case, without a dot at the end; addresses in their shortest form, without brackets.
        domains: endings with their dot, such as ".example.com", of which every subdomain is allowed.
        addresses: whether every IP address is allowed.
        everything: whether every host is allowed.
    """

    names: frozenset[str]
    domains: tuple[str, ...] = ()
    addresses: bool = False
    everything: bool = False

    def __contains__(self, host: object) -> bool:
        """Return whether the value of a Host header is allowed."""
        if self.everything:
            return True
        name = _name(str(host))
        if name is None:
            return False
        return name in self.names or name.endswith(self.domains) or (self.addresses and _is_address(name))


def default_hosts(address: str) -> AllowedHosts:
    """Return what is allowed unless something else is asked for: the bound address and localhost.

    Args:
        address: that the server listens on. Where that is every address of this machine, any IP address and the
            machine's own name are allowed.
    """
    bound = ipaddress.ip_address(address.partition("%")[0])
    names = {"localhost", str(bound)}
    if bound.is_loopback:
        names |= {"127.0.0.1", "::1"}
    if bound.is_unspecified:
        names |= {socket.gethostname().lower()}
    return AllowedHosts(frozenset(names), addresses=bound.is_unspecified)


def parse_hosts(given: Sequence[str], address: str) -> AllowedHosts:
    """Return what is allowed by the given names, beside the bound address and localhost.

    Args:
        given: names or addresses without ports; "*.example.com" is every subdomain, "*" everything.
        address: that the server listens on.

    Raises:
        ConfigError: one is no name.
    """
    default = default_hosts(address)
    names, domains = set(default.names), []
    for one in given:
        ending = one.removeprefix("*.")
        name = _name(ending)
        if one == ANY:
            return AllowedHosts(frozenset(), everything=True)
        if name is None or _port(ending) or "*" in name or not name.isascii():
            raise ConfigError(
                f"--allowed-hosts takes names such as shop.example.com or *.example.com, without http:// and port, "
                f"not '{one}'"
            )
        if ending != one:
            domains.append(f".{name}")
        else:
            names.add(name)
    return AllowedHosts(frozenset(names), tuple(domains), addresses=default.addresses)


@lru_cache(1024)
def _name(host: str) -> str | None:
    """Return the name or address of a Host header's value; None where it is neither."""
    host = host.strip().lower()
    port = _port(host)
    if port:
        if not port[1:].isdigit() and port != ":":
            return None
        host = host.removesuffix(port)
    bare = host.removeprefix("[").removesuffix("]")
    if _is_address(bare):
        return str(ipaddress.ip_address(bare))
    host = host.removesuffix(".")
    # whatever has no place in a name: a path, a password, a space
    return host if host and not set(host) & set(" /\\@?#[]:,%") else None


def _port(host: str) -> str:
    """Return the colon and the port at the end of a host, or nothing; an address of IPv6 without brackets has none."""
    if _is_address(host):
        return ""
    colon = host.rfind(":")
    return host[colon:] if colon > host.rfind("]") else ""


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def parse_image_hosts(text: str) -> tuple[str, ...]:
    """Return the hosts from which the page may load pictures, as a content security policy names them.

    Args:
        text: names with commas between them; "*.example.com" is every subdomain, ":8080" at the end another port.

    Raises:
        ConfigError: one is no such name. What is no name could say something else in the policy.
    """
    hosts = tuple(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
    for host in hosts:
        if len(host) > 255 or _IMAGE_HOST.fullmatch(host) is None:
            raise ConfigError(
                f"--image-hosts takes names such as cdn.example.com or *.example.com with commas between them, "
                f"found {host!r:.80}: leave out https:// and what follows the name"
            )
    return hosts
