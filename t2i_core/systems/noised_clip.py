"""A CLIP of noised pictures, which can say at every step of a drawing where its caption lies (GLIDE, 3.3)."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i_core.diffusion.loss import by_band
from t2i_core.models.config import NoisedViTConfig, Sizes, TextTransformerConfig
from t2i_core.models.noised_vit import NoisedViT
from t2i_core.models.text_transformer import TextTransformer
from t2i_core.systems.clip import MAX_LOG_SCALE, contrast, same_captions
from t2i_core.systems.condition import Condition
from t2i_core.systems.config import NoisedCLIPConfig
from t2i_core.systems.noised import noised, schedule_of
from t2i_core.systems.stage import Batch, Losses, Stage, encode, hidden_matrices
from t2i_core.systems.view import factor_of, shrunk

# Of logits at the start, as in CLIP.
FIRST_SCALE = 1 / 0.07


class NoisedCLIPStage(Stage):
    """Image tower with a time token, text tower and a temperature."""

    def __init__(self, config: NoisedCLIPConfig, sizes: Sizes, given: Mapping[str, Stage]) -> None:
        super().__init__()
        self.config = config
        self.side = side = config.side or sizes.image_size
        self._shrinks = factor_of(sizes.image_size, side)
        if side % config.image.patch_size:
            raise ValueError(f"pictures of {side} pixels do not fit patches of {config.image.patch_size}.")
        self.schedule = schedule_of(config)
        self.image = NoisedViT(NoisedViTConfig(**config.image.model_dump(), image_size=side))
        self.text = TextTransformer(
            TextTransformerConfig(
                **config.text.model_dump(), vocab_size=sizes.vocab_size, context_length=sizes.context_length
            )
        )
        self.from_image = nn.Linear(config.image.width, config.embed_dim, bias=False)
        self.from_text = nn.Linear(config.text.width, config.embed_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(FIRST_SCALE)))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Embed noised pictures (B, 3, H, W) at times t: (B,) float32, of length 1."""
        return F.normalize(self.from_image(self.image(x_t, t)).float(), dim=1)

    def captions(self, condition: Condition) -> Tensor:
        """Embed captions: (B, D) float32, of length 1."""
        return F.normalize(self.from_text(encode(self.text, condition).pooled).float(), dim=1)

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by to be logits."""
        return self.logit_scale.clamp(max=MAX_LOG_SCALE).exp()

    def loss(self, batch: Batch) -> Losses:
        """Contrast noised pictures and captions within the batch; also how often the right caption is the nearest."""
        assert batch.condition.text is not None and batch.condition.text.ids is not None
        at = noised(shrunk(batch.target, self._shrinks), batch.chance, self.schedule, self.config)
        logits = self.scale * self(at.x_t, at.t) @ self.captions(batch.condition).T
        same = same_captions(batch.condition.text.ids)
        each = contrast(logits, same)
        seen = each.detach()
        right = same.gather(1, logits.argmax(1, keepdim=True)).squeeze(1).float()
        figures = {"loss": seen, "accuracy": right} | by_band(seen, at.u) | by_band(right, at.u, "accuracy")
        return Losses(total=each.mean(), figures=figures)

    def logits(self, pictures: Tensor, condition: Condition) -> Tensor:
        """See `Guide.logits`: logit scale times cosine."""
        small = shrunk(pictures, factor_of(pictures.shape[-1], self.side))
        clean = torch.zeros(len(pictures), device=pictures.device)
        logits: Tensor = self.scale * (self(small, clean) * self.captions(condition)).sum(1)
        return logits

    def gradient(self, condition: Condition) -> Callable[[Tensor, Tensor], Tensor]:
        """Read captions; gives the gradient of their logits with (x_t: (B, 3, H, W), t: (B,)), in x_t and like it."""
        text = self.captions(condition).detach()

        def uphill(x_t: Tensor, t: Tensor) -> Tensor:
            with torch.enable_grad():
                x = x_t.detach().requires_grad_()
                logits = self.scale * (self(x, t) * text).sum(1)
                (direction,) = torch.autograd.grad(logits.sum(), x)
            return direction

        return uphill

    def hidden_matrices(self) -> Sequence[nn.Parameter]:
        """List what Muon may train."""
        return hidden_matrices(self, [*self.image.outer_layers(), *self.text.outer_layers()])
