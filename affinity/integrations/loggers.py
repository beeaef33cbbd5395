"""Loggers: an audit's scalars, pictures and report in TensorBoard, MLflow, Weights & Biases."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from affinity.audit import Audit
from affinity.errors import InputError
from affinity.extras import needs
from affinity.recording import Trace
from affinity.report import write_figures, write_report


def audit_scalars(audit: Audit) -> dict[str, float]:
    """The gain of each task and the mean gain of each candidate, by name."""
    gains = {f"gain/{task}": verdict.gain for task, verdict in audit.verdicts.items()}
    means = {
        f"mean gain/{name}": float(audit.averaged(candidate.test).overall().mean())
        for name, candidate in audit.candidates.items()
    }
    return {name: value for name, value in (gains | means).items() if value == value}


def log_to_tensorboard(
    audit: Audit, folder: str | Path, *, trace: Trace | None = None, step: int = 0
) -> None:
    """Write scalars, the table of gains and every picture as TensorBoard events to `folder`."""
    with needs("tensorboard"):
        from torch.utils.tensorboard import SummaryWriter
    import numpy as np
    from PIL import Image

    with SummaryWriter(str(folder)) as writer, TemporaryDirectory() as pictures:
        for name, value in audit_scalars(audit).items():
            writer.add_scalar(name, value, step)  # pyright: ignore[reportUnknownMemberType]
        writer.add_text("gains", _markdown(audit), step)  # pyright: ignore[reportUnknownMemberType]
        for file in write_figures(audit, pictures, ("png",), trace=trace):
            image = np.asarray(Image.open(file).convert("RGB"))
            writer.add_image(file.stem, image, step, dataformats="HWC")  # pyright: ignore[reportUnknownMemberType]


def log_to_mlflow(audit: Audit, *, trace: Trace | None = None) -> None:
    """Log metrics, audit.json, the report page and pictures to MLflow's active run."""
    with needs("mlflow"):
        import mlflow  # pyright: ignore[reportMissingImports]
    if mlflow.active_run() is None:
        raise InputError(
            "Expected an active run: call this inside `with mlflow.start_run():`.", "no-active-run"
        )
    mlflow.log_metrics({_metric_name(name): value for name, value in audit_scalars(audit).items()})
    mlflow.set_tag("affinity.advice", audit.advice)
    with TemporaryDirectory() as folder:
        _write_files(audit, Path(folder), trace)
        mlflow.log_artifacts(folder, artifact_path="affinity")


def log_to_wandb(audit: Audit, run: Any, *, trace: Trace | None = None) -> None:
    """Log scalars, the table of gains, pictures and the report page to a Weights & Biases run.

    `run` is what `wandb.init()` returned; `mode="offline"` keeps everything on this machine.
    """
    with needs("wandb"):
        import wandb  # pyright: ignore[reportMissingImports]
    with TemporaryDirectory() as folder:
        page, pictures = _write_files(audit, Path(folder), trace)
        run.log(
            {
                **audit_scalars(audit),
                "gains": wandb.Table(dataframe=audit.gains.frame()),
                "report": wandb.Html(page.read_text(encoding="utf-8"), inject=False),
                **{picture.stem: wandb.Image(str(picture)) for picture in pictures},
            }
        )
        run.summary["advice"] = audit.advice


LOGGERS: Mapping[str, Callable[..., None]] = {
    "tensorboard": log_to_tensorboard,
    "mlflow": log_to_mlflow,
    "wandb": log_to_wandb,
}
"""Every logger by the name of its library."""


def _write_files(audit: Audit, folder: Path, trace: Trace | None) -> tuple[Path, list[Path]]:
    audit.to_json(folder / "audit.json")
    page = write_report(audit, folder / "report.html", trace=trace)
    return page, write_figures(audit, folder / "figures", ("png",), trace=trace)


def _markdown(audit: Audit) -> str:
    rows = ["| task | verdict | gain |", "|---|---|---|"]
    for task, verdict in audit.verdicts.items():
        name = task.replace("|", "\\|").replace("\n", " ")
        rows.append(f"| {name} | {verdict.verdict} | {verdict.gain:+.3f} |")
    return "\n".join([*rows, "", f"Advice: {audit.advice}"])


def _metric_name(name: str) -> str:
    """MLflow takes letters, digits, and _-./: and spaces in names."""
    return "".join(sign if sign.isalnum() or sign in "_-./ :" else "_" for sign in name)
