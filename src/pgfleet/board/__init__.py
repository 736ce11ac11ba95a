"""The only mutable state: what we believe of the nodes, and whose turn it is. Begin with `board.py`."""

from pgfleet.board.board import Board
from pgfleet.board.node import Node
from pgfleet.board.table import RoutingTable

__all__ = ["Board", "Node", "RoutingTable"]
