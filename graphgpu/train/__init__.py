"""Training runs: recipes, the loop, and the folder that a run leaves behind."""

from graphgpu.train.classifier import Classifier, build, fit
from graphgpu.train.early_stopping import EarlyStopping
from graphgpu.train.history import Epoch, History
from graphgpu.train.progress import Display
from graphgpu.train.recipes import RECIPES, Recipe
from graphgpu.train.run import run
from graphgpu.train.run_folder import RunFolder

__all__ = [
    "RECIPES",
    "Classifier",
    "Display",
    "EarlyStopping",
    "Epoch",
    "History",
    "Recipe",
    "RunFolder",
    "build",
    "fit",
    "run",
]
