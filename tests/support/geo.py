"""Country databases."""

from ipaddress import IPv4Network
from pathlib import Path


def _value(value: object) -> bytes:
    """Encode a value in MaxMind DB's data format: small strings and maps, empty lists, integers as (bits, number)."""
    match value:
        case dict():
            return bytes([7 << 5 | len(value)]) + b"".join(_value(name) + _value(item) for name, item in value.items())
        case (16, int(number)):
            return bytes([5 << 5 | 2]) + number.to_bytes(2, "big")
        case (32, int(number)):
            return bytes([6 << 5 | 4]) + number.to_bytes(4, "big")
        case (64, int(number)):
            return bytes([8, 9 - 7]) + number.to_bytes(8, "big")
        case list():
            return bytes([0, 11 - 7])
        case _:
            text = str(value).encode()
            return bytes([2 << 5 | len(text)]) + text


def write_database(path: Path, network: IPv4Network, record: object) -> None:
    """Write a MaxMind DB with one network: a chain of nodes, one for each bit of its prefix."""
    nodes = network.prefixlen
    tree = b""
    for depth in range(nodes):
        bit = int(network.network_address) >> (31 - depth) & 1
        next_node = depth + 1 if depth + 1 < nodes else nodes + 16  # the last node leads to the first record
        branches = [nodes, nodes]  # no data for this branch
        branches[bit] = next_node
        tree += b"".join(branch.to_bytes(3, "big") for branch in branches)
    metadata = {
        "node_count": (32, nodes),
        "record_size": (16, 24),
        "ip_version": (16, 4),
        "database_type": "Test-Country",
        "languages": [],
        "description": {},
        "binary_format_major_version": (16, 2),
        "binary_format_minor_version": (16, 0),
        "build_epoch": (64, 1),
    }
    path.write_bytes(tree + bytes(16) + _value(record) + b"\xab\xcd\xefMaxMind.com" + _value(metadata))
