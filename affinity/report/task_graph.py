"""The task graph: tasks in a circle, with arrows for affinities beyond their noise."""

from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from affinity.estimates import AffinityMatrix
from affinity.grouping import Grouping

from .labels import short_labels
from .order import clustered_order
from .palette import HARMS, HELPS, INK, group_colour
from .picture import AxesPicture

MOST_NAMED = 60
MOST_UPRIGHT = 16


@dataclass(frozen=True, eq=False)
class TaskGraph(AxesPicture):
    """Tasks as nodes, coloured by the network that serves them; arrows from source to target.

    An arrow is drawn if an affinity is more than two standard errors from 0, up to a few per
    target. Blue: helps. Orange, dashed: harms. Wider: stronger.

    Args:
        grouping: Sets colours and order.
        most_onto: Maximum number of arrows per target.
    """

    matrix: AffinityMatrix
    grouping: Grouping | None = None
    most_onto: int = 3

    def graph(self) -> Any:
        """A networkx graph: nodes with their network, edges with their affinity."""
        graph = nx.DiGraph()
        tasks = self.matrix.tasks
        values = self.matrix.values.double().numpy()
        error = self.matrix.standard_error
        noise = np.zeros_like(values) if error is None else 2 * error.double().numpy()
        for position in clustered_order(self.matrix, self.grouping):
            graph.add_node(tasks[position], network=self._network(tasks[position]))
        for column, target in enumerate(tasks):
            clear = [
                row
                for row in range(len(tasks))
                if row != column and np.abs(values[row, column]) > max(0, noise[row, column])
            ]
            clear.sort(key=lambda row, column=column: -abs(values[row, column]))
            for row in clear[: self.most_onto]:
                graph.add_edge(tasks[row], target, affinity=float(values[row, column]))
        return graph

    def frame(self) -> pd.DataFrame:
        """One row per arrow: source, target, affinity; strongest first."""
        edges = [(s, t, data["affinity"]) for s, t, data in self.graph().edges(data=True)]
        table = pd.DataFrame(edges, columns=["source", "target", "affinity"])
        return table.sort_values("affinity", key=np.abs, ascending=False, ignore_index=True)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        n_tasks = len(self.matrix.tasks)
        side = min(7.4, 3.6 + 0.12 * n_tasks)
        return side + (1.8 if n_tasks <= MOST_NAMED else 0.0), side

    def _draw(self, axes: Axes) -> None:
        graph = self.graph()
        nodes: list[str] = list(graph)
        n_tasks = len(nodes)
        angles = np.pi / 2 - 2 * np.pi * np.arange(n_tasks) / n_tasks
        place = {
            task: (np.cos(angle), np.sin(angle)) for task, angle in zip(nodes, angles, strict=True)
        }
        dot = 260 if n_tasks <= 12 else 110 if n_tasks <= 40 else 28
        strengths = [abs(data["affinity"]) for *_, data in graph.edges(data=True)]
        strongest = max(strengths, default=1.0)
        for is_help, colour, dash in ((False, HARMS, "dashed"), (True, HELPS, "solid")):
            edges = [
                (source, target, data["affinity"])
                for source, target, data in graph.edges(data=True)
                if (data["affinity"] > 0) == is_help
            ]
            edges.sort(key=lambda edge: abs(edge[2]))
            shares = np.array([abs(affinity) / strongest for *_, affinity in edges])
            if edges:
                nx.draw_networkx_edges(
                    graph,
                    place,
                    edgelist=[(source, target) for source, target, _ in edges],
                    ax=axes,
                    edge_color=colour,
                    style=dash,
                    width=(0.5 + 2.2 * shares).tolist(),
                    alpha=(0.35 + 0.6 * shares).tolist(),
                    arrowsize=9,
                    node_size=dot * 1.5,
                    connectionstyle="arc3,rad=0.12",
                )
        nx.draw_networkx_nodes(
            graph,
            place,
            nodelist=nodes,
            ax=axes,
            node_color=[group_colour(self._network(task)) for task in nodes],
            edgecolors="white",
            linewidths=1.0,
            node_size=dot,
        )
        if n_tasks <= MOST_NAMED:
            self._write_names(axes, nodes, place)
        axes.set_aspect("equal")
        axes.set_xlim(-1.15, 1.15)
        axes.set_ylim(-1.15, 1.15)
        axes.set_axis_off()

    def _write_names(
        self, axes: Axes, nodes: list[str], place: dict[str, tuple[float, float]]
    ) -> None:
        for task, label in zip(nodes, short_labels(nodes, 22), strict=True):
            x, y = place[task]
            number = self._network(task) + 1
            horizontal = "left" if x > 0.15 else "right" if x < -0.15 else "center"
            vertical = "bottom" if y > 0.85 else "top" if y < -0.85 else "center"
            text = label if self.grouping is None else f"{label} ({number})"
            look: dict[str, Any] = {"ha": horizontal, "va": vertical}
            if len(nodes) > MOST_UPRIGHT:
                turn = np.degrees(np.arctan2(y, x))
                is_left = x < 0
                look = {
                    "ha": "right" if is_left else "left",
                    "va": "center",
                    "rotation": turn + 180 if is_left else turn,
                    "rotation_mode": "anchor",
                    "fontsize": 8,
                }
            axes.text(1.08 * x, 1.08 * y, text, color=INK, clip_on=False, **look)

    def _network(self, task: str) -> int:
        if self.grouping is None:
            return 0
        return self.grouping.networks.index(self.grouping.network_of(task))
