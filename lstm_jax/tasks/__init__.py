"""Tasks: one a file, and `TASKS`, the only list of them."""

from lstm_jax.tasks.adding import adding
from lstm_jax.tasks.agreement import agreement
from lstm_jax.tasks.base import Example, Task, TaskConstructor
from lstm_jax.tasks.characters import characters
from lstm_jax.tasks.cifar10 import cifar10
from lstm_jax.tasks.copying import copy
from lstm_jax.tasks.delayed_match import delayed_match
from lstm_jax.tasks.digits import digits
from lstm_jax.tasks.film import film
from lstm_jax.tasks.imdb import imdb
from lstm_jax.tasks.induction import induction
from lstm_jax.tasks.latch import latch
from lstm_jax.tasks.long_lag import long_lag
from lstm_jax.tasks.memorization import memorization
from lstm_jax.tasks.mnist import mnist
from lstm_jax.tasks.mqar import mqar
from lstm_jax.tasks.multiplication import multiplication
from lstm_jax.tasks.parity import parity
from lstm_jax.tasks.reber import reber
from lstm_jax.tasks.recall import recall
from lstm_jax.tasks.selective_copy import selective_copy
from lstm_jax.tasks.sentences import sentences
from lstm_jax.tasks.speech_commands import speech_commands
from lstm_jax.tasks.temporal_order import temporal_order
from lstm_jax.tasks.two_sequence import two_sequence

TASKS: dict[str, TaskConstructor] = {
    "recall": recall,
    "delayed_match": delayed_match,
    "long_lag": long_lag,
    "latch": latch,
    "two_sequence": two_sequence,
    "adding": adding,
    "multiplication": multiplication,
    "temporal_order": temporal_order,
    "copy": copy,
    "memorization": memorization,
    "selective_copy": selective_copy,
    "induction": induction,
    "mqar": mqar,
    "reber": reber,
    "parity": parity,
    "sentences": sentences,
    "agreement": agreement,
    "film": film,
    "digits": digits,
    "mnist": mnist,
    "cifar10": cifar10,
    "speech_commands": speech_commands,
    "imdb": imdb,
    "characters": characters,
}

__all__ = ["TASKS", "Example", "Task", *TASKS]
