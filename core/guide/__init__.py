"""guide, the model that ships with benchtop: its weights, and the scripts that train and measure them.

Importing this package reads nothing but a path. The scripts beside it need torch and are never imported by the product.
"""

from pathlib import Path
from typing import Final

WEIGHTS: Final[Path] = Path(__file__).with_name("guide.gguf")
"""The GGUF file of guide: llama architecture, f16 tensors, its tokenizer and ChatML template inside."""
