"""What a dashboard of Grafana is, as far as deploy/grafana uses it.

Every field is known and has its type: Grafana itself ignores what it does not know, as
a misspelt option, and shows a panel without it.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field, json

from tests.docs.blocks import ROOT

DASHBOARD = ROOT / "deploy" / "grafana" / "gomlx.json"
_COLUMNS = 24
Natural = Annotated[int, Meta(ge=0)]
Text = Annotated[str, Meta(min_length=1)]
Unit = Literal["Bps", "bytes", "ops", "percentunit", "reqps", "s", "short"]


class Strict(Struct, forbid_unknown_fields=True, rename="camel"):
    """A struct that refuses fields it does not have."""


class Source(Strict):
    type: Literal["prometheus"]
    uid: Literal["${datasource}"]


class Place(Strict):
    """Where a panel is, in units of the grid."""

    h: Annotated[int, Meta(ge=1)]
    w: Annotated[int, Meta(ge=1, le=_COLUMNS)]
    x: Annotated[int, Meta(ge=0, lt=_COLUMNS)]
    y: Natural

    def overlaps(self, other: "Place") -> bool:
        return (
            self.x < other.x + other.w
            and other.x < self.x + self.w
            and self.y < other.y + other.h
            and other.y < self.y + self.h
        )


class Target(Strict):
    """A query of a panel: over the shown time, or at its end."""

    ref_id: Annotated[str, Meta(pattern="^[A-Z]$")]
    datasource: Source
    expr: Text
    legend_format: str
    editor_mode: Literal["code"]
    range: bool
    instant: bool
    format: Literal["time_series", "table"] = "time_series"


class Step(Strict):
    color: Literal["green", "orange", "red"]
    value: float | None


class Thresholds(Strict):
    mode: Literal["absolute"]
    steps: Annotated[list[Step], Meta(min_length=1)]


class Stacking(Strict):
    mode: Literal["none", "normal"]
    group: Text


class LineStyle(Strict):
    draw_style: Literal["line"]
    line_width: Natural
    fill_opacity: Annotated[int, Meta(ge=0, le=100)]
    show_points: Literal["never"]
    span_nulls: bool
    stacking: Stacking


class LineDefaults(Strict):
    unit: Unit
    custom: LineStyle
    min: float | None = None
    max: float | None = None


class StatDefaults(Strict):
    unit: Unit
    thresholds: Thresholds


class CellStyle(Strict):
    align: Literal["auto"]
    filterable: bool


class TableDefaults(Strict):
    custom: CellStyle


class LineFields(Strict):
    defaults: LineDefaults
    overrides: Annotated[list[Any], Meta(max_length=0)]


class StatFields(Strict):
    defaults: StatDefaults
    overrides: Annotated[list[Any], Meta(max_length=0)]


class TableFields(Strict):
    defaults: TableDefaults
    overrides: Annotated[list[Any], Meta(max_length=0)]


class Legend(Strict):
    display_mode: Literal["table"]
    placement: Literal["bottom"]
    show_legend: bool
    calcs: list[Literal["lastNotNull", "max"]]


class Tooltip(Strict):
    mode: Literal["multi"]
    sort: Literal["desc"]


class LineOptions(Strict):
    legend: Legend
    tooltip: Tooltip


class Reduction(Strict):
    calcs: list[Literal["lastNotNull"]]
    fields: str
    values: bool


class StatOptions(Strict):
    reduce_options: Reduction
    color_mode: Literal["value"]
    graph_mode: Literal["area"]
    justify_mode: Literal["auto"]
    orientation: Literal["auto"]
    text_mode: Literal["auto"]


class TableOptions(Strict):
    show_header: bool
    cell_height: Literal["sm"]


class Columns(Strict):
    exclude_by_name: dict[str, bool]
    rename_by_name: dict[str, str]


class Transformation(Strict):
    id: Literal["organize"]
    options: Columns


class Row(Strict, tag="row"):
    """A title above the panels that follow."""

    id: Annotated[int, Meta(ge=1)]
    title: Text
    grid_pos: Place
    collapsed: Literal[False]
    panels: Annotated[list[Any], Meta(max_length=0)]


class Shown(Strict):
    """What all panels with data have."""

    id: Annotated[int, Meta(ge=1)]
    title: Text
    grid_pos: Place
    datasource: Source
    targets: Annotated[list[Target], Meta(min_length=1)]


class Lines(Shown, tag="timeseries", kw_only=True):
    field_config: LineFields
    options: LineOptions
    description: str = ""


class Stat(Shown, tag="stat", kw_only=True):
    field_config: StatFields
    options: StatOptions
    description: str = ""


class Table(Shown, tag="table", kw_only=True):
    field_config: TableFields
    options: TableOptions
    transformations: list[Transformation]
    description: str = ""


class Chosen(Strict):
    """What a variable is at first."""

    selected: bool = False
    text: list[str] = []
    value: list[str] = []


class SourceVariable(Strict, tag="datasource"):
    name: Literal["datasource"]
    label: Text
    query: Literal["prometheus"]
    current: Chosen
    hide: Literal[0]
    refresh: Literal[1]
    regex: Literal[""]
    multi: bool
    include_all: bool
    options: Annotated[list[Any], Meta(max_length=0)]


class Question(Strict):
    query: Text
    ref_id: Text


class QueryVariable(Strict, tag="query"):
    name: Text
    label: Text
    datasource: Source
    query: Question
    definition: Text
    refresh: Literal[2]  # when the shown time changes
    sort: Literal[1]
    multi: bool
    include_all: bool
    current: Chosen
    hide: Literal[0]
    regex: Literal[""]
    options: Annotated[list[Any], Meta(max_length=0)]


class Variables(Strict):
    every: list[SourceVariable | QueryVariable] = field(name="list")


class Annotation(Strict):
    """Marks over all graphs."""

    name: Text
    datasource: Source
    enable: bool
    icon_color: Text
    expr: Text
    title_format: Text
    text_format: Text


class Annotations(Strict):
    every: list[Annotation] = field(name="list")


class Dashboard(Strict):
    """The whole of it."""

    title: Text
    uid: Annotated[str, Meta(pattern="^[a-z0-9-]{1,40}$")]
    description: Text
    tags: list[str]
    schema_version: Annotated[int, Meta(ge=36)]
    version: Natural
    editable: bool
    graph_tooltip: Literal[0, 1, 2]
    timezone: Literal["browser"]
    refresh: Text
    time: dict[Literal["from", "to"], str]
    links: Annotated[list[Any], Meta(max_length=0)]
    annotations: Annotations
    templating: Variables
    panels: list[Row | Lines | Stat | Table]

    def shown(self) -> "Iterator[Lines | Stat | Table]":
        """Yield the panels with data."""
        for panel in self.panels:
            if not isinstance(panel, Row):
                yield panel

    def expressions(self) -> list[str]:
        """Return the expressions of all panels, with Grafana's variables in them."""
        return [one.expr for panel in self.shown() for one in panel.targets]


def read() -> Dashboard:
    """Read the dashboard. Raises msgspec.ValidationError, which names the field."""
    return json.decode(DASHBOARD.read_bytes(), type=Dashboard)
