import torch

from t2i_core.models.mixture import MixtureHead, posterior_mean


def a_mixture(num_components: int = 3, num_pixels: int = 5):
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(2, num_components, num_pixels, generator=g, dtype=torch.float64)
    means = torch.rand(2, num_components, 3, generator=g, dtype=torch.float64) * 2 - 1
    variances = torch.rand(2, num_components, 1, generator=g, dtype=torch.float64) * 0.1 + 0.01
    return logits, means, variances


def test_the_posterior_mean_is_the_average_over_draws_weighed_by_their_likelihood():
    logits, means, variances = a_mixture()
    alpha, sigma = torch.full((2, 1, 1), 0.6, dtype=torch.float64), torch.full((2, 1, 1), 0.4, dtype=torch.float64)
    g = torch.Generator().manual_seed(1)
    pixels = torch.randn(2, 3, 5, generator=g, dtype=torch.float64) * 0.4

    exact = posterior_mean(logits, means, variances, pixels, alpha, sigma)

    n, k, p, draws = 1, 2, 4, 400_000
    chosen = torch.multinomial(logits[n].softmax(0)[:, p], draws, replacement=True, generator=g)
    noise = torch.randn(draws, 3, generator=g, dtype=torch.float64)
    x_0 = means[n, chosen] + variances[n, chosen].sqrt() * noise
    error = (pixels[n, :, p] - 0.6 * x_0).square().sum(1)
    weights = (-error / (2 * 0.4**2)).softmax(0)
    assert torch.allclose(exact[n, :, p], (weights[:, None] * x_0).sum(0), atol=5e-3)
    assert exact.shape == (2, 3, 5) and k < means.shape[1]


def test_without_noise_the_pixel_itself_is_believed_and_with_nothing_but_noise_the_prior():
    logits, means, variances = a_mixture()
    pixels = torch.rand(2, 3, 5, dtype=torch.float64)
    one, zero = torch.ones(2, 1, 1, dtype=torch.float64), torch.full((2, 1, 1), 1e-6, dtype=torch.float64)

    clean = posterior_mean(logits, means, variances, pixels, one, zero)
    blind = posterior_mean(logits, means, variances, pixels, zero, one)

    assert torch.allclose(clean, pixels, atol=1e-6)
    assert torch.allclose(blind, torch.bmm(means.mT, logits.softmax(1)), atol=1e-4)


def test_the_head_is_finite_at_both_ends_and_its_components_start_apart():
    torch.manual_seed(0)
    head = MixtureHead(8, patch_size=2, num_components=3)
    x, x_t = torch.randn(2, 8, 4, 4, requires_grad=True), torch.randn(2, 3, 8, 8)
    sigma = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)

    x_0 = head(x, x_t, 1 - sigma, sigma)
    x_0.square().mean().backward()

    assert x_0.shape == x_t.shape and bool(x_0.isfinite().all())
    assert all(bool(p.grad.isfinite().all()) for p in head.parameters())
    assert len({round(v, 3) for v in head.out.bias[12:21].tolist()}) == 9


def test_each_pixel_follows_its_own_noisy_value():
    head = MixtureHead(8, patch_size=4, num_components=2)
    with torch.no_grad():
        black_and_white = torch.tensor([-1.0, -1, -1, 1, 1, 1])
        head.out.bias[32:38] = black_and_white
        head.out.bias[38:] = -3.0
    pattern = (torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(2)) > 0.5).float() * 2 - 1
    x_t = 0.8 * pattern.expand(1, 3, 8, 8) + 0.2 * torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(3))

    with torch.no_grad():
        x_0 = head(torch.zeros(1, 8, 2, 2), x_t, torch.full((1, 1, 1, 1), 0.8), torch.full((1, 1, 1, 1), 0.2))

    assert float((x_0 - pattern).abs().max()) < 0.1
