"""What a certificate document says in words: its scope, its limits, and how its numbers follow from the labels."""

from typing import Final

from certrad.models.types import TEMPLATE_PROMPT, AlphaSplit, GatedAdaptation, Rule, ZeroShotAdaptation
from certrad.models.types.identity import ClassifierIdentity
from certrad.models.types.rejection import UNLIKE

_RADIUS: Final = "radius = floor4(sigma/2 * (z(p_a_lower) - z(p_b_upper)))"
_NO_RADIUS: Final = "no radius; p_a_lower and p_b_upper are the bounds of the e-processes by then"
_CP_LOWER: Final = "cp_lower = Clopper-Pearson(k_A of n, alpha_split.p_a)"
_FORMULAS: Final[dict[Rule, str]] = {
    "clopper_pearson": (
        f"{_RADIUS}; p_a_lower = floor6(cp_lower - eta), p_b_upper = raise6(min(1 - cp_lower, cp_upper) + eta); "
        f"{_CP_LOWER}, cp_upper = Clopper-Pearson(k_2 of n, alpha_split.p_b)"
    ),
    "e_process": (
        f"{_RADIUS}; p_a_lower = the largest p for which the e-process of k_A against p + eta reached "
        "1/alpha_split.p_a_anytime at a look, p_b_upper = 1 - q, q = the largest for which that of n - k_2 against "
        "q + eta reached 1/alpha_split.p_b_anytime at a look, or p_a_lower if that is larger; 6 decimals"
    ),
    "futility": f"{_NO_RADIUS}: the target had become too unlikely to be shown",
    "curtailment": f"{_NO_RADIUS}: no labels of the samples left could have shown the target",
    "certified_selection": (
        "radius = min over the selector's outcomes, `invalid` included, of max(radius, exclusion_radius); of an "
        "outcome, radius = floor4(sigma/2 * (z(p_a_lower) - z(p_b_upper))), 0 where it was not sampled, and "
        "exclusion_radius = floor4(selector_sigma/2 * (z(q_a_lower) - z(q_b_upper))), 0 for the selected route; p of "
        "the class in its own samples with alpha_split, q of the selected route against it in the selector's samples "
        "with routing.alpha_split: lower = floor6(cp_lower - eta), upper = raise6(min(1 - cp_lower, cp_upper) + eta)"
    ),
}
_WHEN_FIXED: Final = {
    True: "Its {} fixed before the image was sent, and this model input is not one that {} tuned on.",
    False: "Its {} fixed before the noise was drawn; the images that {} tuned on are not recorded.",
}
"""By whether the images of the tuning are recorded, so that none of them is certified."""
_ADAPTED: Final = {
    "recorded": "Its image encoder has an adapter that was fixed before the image was sent, and this model input is "
    "not one that the adapter was trained on.",
    "not_recorded": "Its image encoder has an adapter that was fixed before the noise was drawn; the images that the "
    "adapter was trained on are not recorded.",
}

_RENDERED: Final = "The radius is about changes of the rendered image's own pixels, before it is resized."
_BALL: Final = (
    "A certificate says that no change of the model input of L2 norm below the radius changes the smoothed class.",
    "It says nothing about whether the class is right.",
    "The norm is L2 over the model input with pixels in [0, 1], after decoding and resizing. Only digital changes of "
    "the pixels are covered, not another exposure, window, crop, header or file.",
)
_RENDERED_BALL: Final = (
    "A certificate says that no change of the rendered image of L2 norm below the radius changes the smoothed class.",
    "It says nothing about whether the class is right.",
    "The norm is L2 over all pixels of the rendered image that the model sees, in [0, 1], after decoding, window and "
    "region and before resizing. Only digital changes of the pixels are covered, not another exposure, window, crop, "
    "header or file.",
)
_UNLIKE: Final = (
    f"The class {UNLIKE!r} is one class more, and its certificates are of the same kind. If another class is "
    "certified, no change below the radius makes the answer a third class or this one; if this one is certified, none "
    "makes it any of the other classes. It is not claimed that every image of no known class gets it."
)
_LIMITS: Final = (
    "For each submission, the probability over the noise that a false certificate is issued is at most alpha. Among "
    "the certificates that are issued, the share of false ones has no such bound. Among m submissions, altered copies "
    "of one image included, the probability of at least one false certificate is up to m alpha.",
    "It is about the named classifier in the named precision, computed by the named software on the named processor.",
    "An abstention does not detect an unknown kind of image.",
    "Research use; not a medical device.",
)


def formula(rule: Rule, split: AlphaSplit) -> str:
    """Returns how the published numbers follow from the labels, in words.

    z is the standard normal quantile; floor4, floor6 and raise6 round to 4 and 6 decimals. k_A
    counts the class among the n estimation samples, k_2 the most frequent other label, `invalid` included. The looks
    are after every `look_every` samples and after the last.

    Args:
        rule: The rule that decided.
        split: The shares of alpha.
    """
    if rule == "clopper_pearson" and not split.p_b:
        return f"{_RADIUS}; p_a_lower = floor6(cp_lower - eta), p_b_upper = raise6(1 - cp_lower + eta); {_CP_LOWER}"
    return _FORMULAS[rule]


def scope_text(classifier: ClassifierIdentity) -> str:
    """Returns the scope in words, to stand wherever the radius does.

    Args:
        classifier: The base classifier.
    """
    images = classifier.adapter_images
    adapted = () if images is None else (_ADAPTED[images],)
    rendered = () if classifier.noisy_image is None else (_RENDERED,)
    return " ".join((_scope_of_text(classifier), *adapted, *rendered))


def _scope_of_text(classifier: ClassifierIdentity) -> str:
    match classifier.adaptation:
        case ZeroShotAdaptation():
            return (
                "Holds for the classifier with this tuned prompt frozen. "
                "It does not cover a service that would tune again on the altered image."
            )
        case GatedAdaptation():
            prompts = _WHEN_FIXED[classifier.tuning_images == "recorded"].format("prompts and gate were", "they were")
            return f"Holds for the named classifier. {prompts} It reweights the prompts for each noisy sample."
        case None if classifier.prompt == TEMPLATE_PROMPT:
            return "Holds for the named classifier. Its prompt is a template that was written by hand."
        case None:
            prompt = _WHEN_FIXED[classifier.tuning_images == "recorded"].format("prompt was", "it was")
            return f"Holds for the named classifier. {prompt}"


def general_limits() -> tuple[str, ...]:
    """Returns what a reader must not read into any certificate: the limits of every document without its numbers."""
    return *_BALL, *_LIMITS


def limits(classifier: ClassifierIdentity, selected: int, estimated: int) -> list[str]:
    """Returns what a reader must not read into the claim, and the numbers of samples that it rests on.

    Args:
        classifier: The base classifier.
        selected: Number of selection samples.
        estimated: Number of estimation samples.
    """
    samples = (
        f"It rests on {selected} noisy samples that chose the class and on {estimated} others that bound its "
        "probability; more samples might have shown more."
    )
    unlike = () if classifier.rejection_sha256 is None else (_UNLIKE,)
    return [*(_BALL if classifier.noisy_image is None else _RENDERED_BALL), *unlike, *_LIMITS, samples]
