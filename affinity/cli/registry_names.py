"""The names in registries, for a check of a call before torch is imported."""

ESTIMATOR_NAMES = (
    *("inter-task affinity", "held-out affinity", "optimizer-aware affinity", "first order"),
    *("etap", "gradient cosine", "gradient conflict", "signal cosine", "preconditioned gramian"),
)
TRUNK_NAMES = ("mlp", "residual", "ft-transformer")
METRIC_NAMES = (
    *("roc_auc", "average_precision", "accuracy", "balanced_accuracy", "f1", "precision"),
    *("recall", "matthews_corrcoef", "log_loss", "brier_score", "r2", "d2_poisson"),
    *("quadratic_kappa", "concordance_index", "mean_absolute_error", "mean_squared_error"),
    *("root_mean_squared_error", "median_absolute_error", "max_error", "mean_pinball_loss"),
    *("auc", "pr_auc", "brier", "f1_macro", "mae", "mse", "rmse", "mcc", "quantile_loss"),
)
OBJECTIVE_NAMES = (
    *("sum", "minimax", "uncertainty", "dwa", "gradnorm", "upgrad", "pcgrad", "mgda", "weighted"),
)
METHOD_NAMES = (
    *("linear model", "from scratch", "pretrained head only", "pretrained"),
    *("prototypical network", "Reptile", "first-order MAML", "ANIL", "MAML"),
)
RECIPE_NAMES = (
    *("from scratch", "linear probe", "full fine-tuning", "smaller learning rate"),
    *("layer-wise decay", "re-initialized last layer", "re-initialized top blocks"),
    *("gradual unfreezing", "linear probe then fine-tuning", "surgical fine-tuning", "L2-SP"),
    "best",
)
