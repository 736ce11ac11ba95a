"""The only mutable state: what we believe of the nodes, and whose turn it is. Begin with `board.py`."""

from pgfleet.board.board import Board, Node, RoutingTable

__all__ = ["Board", "Node", "RoutingTable"]
