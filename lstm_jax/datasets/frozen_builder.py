"""The frozen evaluation sets as a TFDS data set, one config a task and gap."""

import jax
import numpy as np
import tensorflow_datasets as tfds

from lstm_jax.datasets import description, frozen
from lstm_jax.spec import parse
from lstm_jax.tasks import TASKS

tfds.disable_progress_bar()


class FrozenEvaluation(tfds.core.GeneratorBasedBuilder):
    """The `monitor` and `report` examples of the tasks in `frozen.CORE`, drawn and compared with
    their checksums.

    Features are the fields of `lstm_jax.tasks.base.Example`; chance, threshold, licence and the
    checksums are in `builder.info.metadata`. Once generated, a set is read without this class and
    without JAX::

        builder = tfds.builder("frozen_evaluation/recall-gap20", data_dir="data")
        source = builder.as_data_source("report")
        source[0]["inputs"], builder.info.metadata["solved_at"]
    """

    name = "frozen_evaluation"
    VERSION = tfds.core.Version(frozen.VERSION)
    RELEASE_NOTES = frozen.RELEASE_NOTES
    BUILDER_CONFIGS = [  # noqa: RUF012 (TFDS reads a class attribute)
        tfds.core.BuilderConfig(
            name=name, description=f"{frozen_set.task}, constructed with {frozen_set.argument}."
        )
        for name, frozen_set in frozen.SETS.items()
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        name = self.builder_config.name
        task = frozen.build(name)
        shapes = jax.eval_shape(task.sample, (), jax.random.key(0))
        spec = parse(frozen.SETS[name].task, TASKS, "task")
        about = description.of_task(
            task, str(spec), spec.resolved, frozen.SETS[name].argument, shapes.targets.dtype
        )
        return tfds.core.DatasetInfo(
            builder=self,
            description="Evaluation sets of lstm_jax: how far back does a recurrent cell remember?",
            features=tfds.features.FeaturesDict(
                {
                    field: tfds.features.Tensor(shape=leaf.shape, dtype=np.dtype(leaf.dtype))
                    for field, leaf in shapes._asdict().items()
                }
            ),
            metadata=tfds.core.MetadataDict({**about, "checksums": frozen.pinned()[name]}),
            disable_shuffling=True,
            license=task.licence,
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing is downloaded
        drawn = frozen.draw(self.builder_config.name)
        for split, example in drawn.items():
            frozen.check(self.builder_config.name, split, example)
        return {split: self._generate_examples(example) for split, example in drawn.items()}

    def _generate_examples(self, example):
        for index, leaves in enumerate(zip(*example, strict=True)):
            yield index, dict(zip(example._fields, leaves, strict=True))
