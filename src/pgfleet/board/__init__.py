"""The only mutable state: what we believe of the nodes, and whose turn it is. Begin with `board.py`."""

from pgfleet.board.board import Board
from pgfleet.board.node import Node
from pgfleet.board.session import Session
from pgfleet.board.table import RoutingTable
from pgfleet.board.writes import Write

__all__ = ["Board", "Node", "RoutingTable", "Session", "Write"]
