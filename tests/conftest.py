from __future__ import annotations

import torch

# Beside another busy process, a second thread makes small steps many times slower.
torch.set_num_threads(1)
