"""unCLIP's autoregressive prior: foretells the numbers of an embedding one by one (arXiv:2204.06125, section 2.2)."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i_core.diffusion.chance import Chance
from t2i_core.models.ar_prior import ARPrior, Buckets, Fits
from t2i_core.models.config import ARPriorConfig, Sizes, TextTransformerConfig
from t2i_core.models.embedding import Statistics
from t2i_core.systems.condition import Condition
from t2i_core.systems.config import ARPriorStageConfig
from t2i_core.systems.stage import Batch, DrawSettings, Losses, Stage, encode, hidden_matrices


class ARPriorStage(Stage):
    """Caption and its embedding -> embedding of a picture, component by component, the largest first."""

    def __init__(self, config: ARPriorStageConfig, sizes: Sizes, given: Mapping[str, Stage]) -> None:
        super().__init__()
        if not sizes.embedding_width:
            raise ValueError("it makes embeddings of a CLIP, and is given none")
        self.config = config
        self.buckets, self.fits = Buckets(sizes.embedding_width, config.num_buckets), Fits(config.num_fits)
        words = {"vocab_size": sizes.vocab_size, "context_length": sizes.context_length}
        self.network = ARPrior(
            ARPriorConfig(
                **config.network.model_dump(),
                text=TextTransformerConfig(**config.text.model_dump(), **words),
                embedding_width=sizes.embedding_width,
                num_buckets=config.num_buckets,
                num_fits=config.num_fits,
            )
        )

    def measure(self, statistics: Statistics) -> None:
        """See `Stage.measure`."""
        self.buckets.fit(statistics.image_mean, statistics.image_covariance)
        self.fits.fit(statistics.products)
        self.network.caption.standardised.fit(statistics.text_mean, statistics.text_std)

    def loss(self, batch: Batch) -> Losses:
        """How unforeseen the numbers are, in nats a number, and how often the likeliest is right."""
        condition, image = batch.condition, batch.condition.image
        assert image is not None
        numbers, fits = self.buckets.numbers(image), self.fits.numbers((image * _embedding(condition)).sum(1))
        logits = self._foretell(condition, fits)(numbers[:, :-1]).float()
        each = F.cross_entropy(logits.transpose(1, 2), numbers, reduction="none").mean(1)
        right = (logits.detach().argmax(2) == numbers).float().mean(1)
        return Losses(total=each.mean(), figures={"loss": each.detach(), "accuracy": right})

    def imagine(self, condition: Condition, chance: Chance, settings: DrawSettings) -> Tensor:
        """See `Prior.imagine`: as one that fits its caption better than most."""
        scale = self.config.guidance_scale if settings.guidance_scale is None else settings.guidance_scale
        fits = self.fits.good(chance.uniform("prior/fits"))
        alone = self._foretell(condition, fits)
        both = None if scale == 1 else self._foretell(condition.opposed(), torch.cat([fits, fits]))
        numbers = torch.empty(len(fits), 0, dtype=torch.long, device=fits.device)
        for place in range(int(self.buckets.kept)):
            if both is None:
                logits = alone(numbers)[:, -1].float()
            else:
                told, untold = both(torch.cat([numbers, numbers]))[:, -1].float().chunk(2)
                logits = untold + scale * (told - untold)
            chosen = drawn_from(logits, chance.uniform(f"prior/{place}"))
            numbers = torch.cat([numbers, chosen[:, None]], dim=1)
        return F.normalize(self.buckets.embeddings(numbers), dim=1)

    def _foretell(self, condition: Condition, fits: Tensor) -> Callable[[Tensor], Tensor]:
        """Read a condition once; gives what makes logits (B, K + 1, num_buckets) of the first numbers (B, K)."""
        text, embedding = encode(self.network.text, condition), _embedding(condition)
        beginning = self.network.read(text, embedding, fits, condition.keep.get("text"))
        return lambda numbers: self.network(beginning, numbers)

    def hidden_matrices(self) -> Sequence[nn.Parameter]:
        """List what Muon may train."""
        return hidden_matrices(self, self.network.outer_layers())


def drawn_from(logits: Tensor, u: Tensor) -> Tensor:
    """Draw a number (B,) int64 from each distribution, logits (B, N), by u: (B,) float in (0, 1)."""
    shares = logits.double().softmax(1).cumsum(1)
    return (shares < u[:, None]).sum(1).clamp(max=logits.shape[1] - 1)


def _embedding(condition: Condition) -> Tensor:
    if condition.text is None or condition.text.embedding is None:
        raise ValueError("the condition has no embeddings of captions")
    return condition.text.embedding
