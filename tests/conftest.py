"""Check shapes and types at every call into `affinity`; use one thread."""

from jaxtyping import install_import_hook

with install_import_hook("affinity", "beartype.beartype"):
    import affinity

    for name in affinity.__all__:  # imported when first used, so used here
        getattr(affinity, name)

import torch

torch.set_num_threads(1)

collect_ignore_glob = ["conftest.py", "*/conftest.py"]  # no examples to run in these
