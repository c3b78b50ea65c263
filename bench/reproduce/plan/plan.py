"""The plan: an experiment for every table and figure of the two papers that has measured values."""

from dataclasses import replace
from typing import Final

from certrad.bench.reproduce.plan.experiment import (
    AnyExperiment,
    AttackedAccuracy,
    AttackedMethod,
    CertificationTime,
    CertifiedAccuracy,
    NearestWords,
    SmoothedMethod,
    TrainingEfficiency,
)
from certrad.models.adapters.training.params import AdapterParams
from certrad.models.types import ZeroShotAdaptation
from certrad.models.types.tuning import TuningParams

FEW_SHOT: Final = TuningParams.published("few_shot")
COOP: Final = TuningParams.published("coop")
ADVPT: Final = TuningParams.published("advpt")
CLEAN_TWIN: Final = replace(ADVPT, method="coop")
"""CoOp by AdvPT's recipe, on clean embeddings: the other end of the trade-off."""

FAITHFUL: Final = ZeroShotAdaptation(context="words")
"""Learnable words as the released code counts them; MedCLIP, whose code was not released, learns all tokens."""
WHOLE: Final = ZeroShotAdaptation(context="tokens")

STARTS: Final = {"pannuke": "An H&E image patch of {}."}
"""Data set -> the template that adaptation starts from where the released code has another one than for zero-shot."""

TEMPLATE: Final = SmoothedMethod(name="zero_shot_no_pl")
NAIVE: Final = SmoothedMethod(name="coop_naive_pl", tuning=COOP)
DENOISED: Final = SmoothedMethod(name="denoised_smoothing", denoiser="dncnn")
DIFFUSION: Final = SmoothedMethod(name="diffusion_smoothing", denoiser="diffusion", images=100)
"""Its printed values are whole percents: 100 images."""
FEW: Final = SmoothedMethod(name="few_shot_promptsmooth", tuning=FEW_SHOT)

ADAPTED: Final = SmoothedMethod(name="adapted_encoder", adapter=AdapterParams())
"""Not of the paper: the template on an encoder that `certrad adapt-encoder` adapted to noise."""

RADII: Final = (0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
SWEPT_RADII: Final = (0.1, 0.25, 0.5)


def _prompts(adaptation: ZeroShotAdaptation) -> tuple[SmoothedMethod, SmoothedMethod, SmoothedMethod]:
    zero_shot = SmoothedMethod(name="zero_shot_promptsmooth", adaptation=adaptation)
    combined = SmoothedMethod(name="promptsmooth", tuning=FEW_SHOT, adaptation=adaptation)
    return zero_shot, FEW, combined


TABLE_2: Final = CertifiedAccuracy(
    id="promptsmooth-table2",
    paper="promptsmooth",
    source="Table 2",
    title="certified accuracy, PLIP on KatherColon",
    backbones=("plip",),
    datasets=("kathercolon",),
    images=500,
    published="promptsmooth_certified.csv",
    methods=(TEMPLATE, NAIVE, DENOISED, DIFFUSION, *_prompts(FAITHFUL), ADAPTED),
    radii=RADII,
)
TABLE_3: Final = replace(
    TABLE_2,
    id="promptsmooth-table3",
    source="Table 3",
    title="certified accuracy, MedCLIP on COVID and RSNA",
    backbones=("medclip-vit",),
    datasets=("covid", "rsna"),
    methods=(DENOISED, DIFFUSION, *_prompts(WHOLE), ADAPTED),
    radii=RADII[:4],
)
TABLE_4: Final = replace(
    TABLE_2,
    id="promptsmooth-table4",
    source="Table 4",
    title="certified accuracy of Zero-Shot PromptSmooth by its first context",
    images=100,
    published="promptsmooth_table4_noisy_context.csv",
    methods=tuple(
        SmoothedMethod(name=words, start=f"{words} {{}}.", adaptation=FAITHFUL)
        for words in ("An H&E image patch of", "An H&E noisy image patch of")
    ),
    radii=(0.0, 0.1, 0.25, 0.5),
)
TABLE_5: Final = CertificationTime(
    id="promptsmooth-table5",
    paper="promptsmooth",
    source="Table 5",
    title="seconds of training and of one certificate",
    backbones=("plip",),
    datasets=("kathercolon",),
    images=10,
    published="promptsmooth_table5_time_seconds.csv",
    methods=(DENOISED, DIFFUSION, _prompts(FAITHFUL)[2]),
    sigma=0.25,
)
_FIGURE_2: Final = replace(TABLE_2, images=100, sigmas=(0.25,), radii=SWEPT_RADII, published=None)
FIGURE_2: Final = (
    replace(
        _FIGURE_2,
        id="promptsmooth-fig2-shots",
        source="Fig. 2, shots",
        title="Few-Shot PromptSmooth by labelled images per class",
        rows="shots",
        methods=tuple(
            SmoothedMethod(name=str(shots), tuning=replace(FEW_SHOT, shots=shots))
            for shots in (2, 4, 8, 16, 24, 28, 32, 64)
        ),
    ),
    replace(
        _FIGURE_2,
        id="promptsmooth-fig2-context",
        source="Fig. 2, context tokens",
        title="Few-Shot PromptSmooth by context vectors",
        rows="context vectors",
        methods=tuple(
            SmoothedMethod(name=str(n_ctx), tuning=replace(FEW_SHOT, n_ctx=n_ctx)) for n_ctx in (2, 4, 5, 8, 16, 32, 64)
        ),
    ),
    replace(
        _FIGURE_2,
        id="promptsmooth-fig2-steps",
        source="Fig. 2, steps",
        title="Zero-Shot PromptSmooth by gradient steps",
        rows="steps",
        methods=tuple(
            SmoothedMethod(name=str(steps), adaptation=replace(FAITHFUL, steps=steps)) for steps in (1, 2, 4, 8, 16)
        ),
    ),
)
APPENDIX: Final = tuple(
    replace(
        TABLE_2,
        id=f"promptsmooth-appendix-{name}",
        source="appendix",
        title=f"certified accuracy, {title}",
        backbones=(backbone,),
        datasets=datasets,
        published=None,
    )
    for name, title, backbone, datasets in (
        ("plip", "PLIP on PanNuke, SkinCancer and SICAPv2", "plip", ("pannuke", "skincancer", "sicapv2")),
        ("quiltnet", "QuiltNet on SkinCancer and SICAPv2", "quiltnet-b-32", ("skincancer", "sicapv2")),
    )
)

NATURAL: Final = ("flowers", "pets", "food101", "sun397", "dtd", "eurosat", "ucf101", "imagenet")
VITS: Final = ("clip-vit-b-16", "clip-vit-l-14")
VANILLA: Final = AttackedMethod(name="vanilla")
TUNED: Final = AttackedMethod(name="advpt", tuning=ADVPT)

ADVPT_TABLE_1: Final = AttackedAccuracy(
    id="advpt-table1",
    paper="advpt",
    source="Table 1",
    title="clean and attacked accuracy, hand-crafted template and AdvPT",
    backbones=VITS,
    datasets=NATURAL,
    images=None,
    published="advpt_table1_vanilla_vs_advpt.csv",
    methods=(VANILLA, TUNED),
    threats=("clean", "pgd40", "rap"),
)
ADVPT_TABLE_2: Final = replace(
    ADVPT_TABLE_1,
    id="advpt-table2",
    source="Table 2",
    title="accuracy under PGD-40 behind input defences",
    published="advpt_table2_defenses_pgd40.csv",
    threats=("pgd40",),
    defences=("none", "super_resolution", "diffpure", "rescale"),
)
ADVPT_TABLE_3: Final = replace(
    ADVPT_TABLE_1,
    id="advpt-table3",
    source="Table 3",
    title="accuracy under AutoAttack",
    published="advpt_table3_autoattack.csv",
    threats=("autoattack",),
    defences=("none", "diffpure"),
)
ADVPT_TABLE_4: Final = replace(
    ADVPT_TABLE_1,
    id="advpt-table4",
    source="Table 4",
    title="clean and attacked accuracy of a linear probe",
    datasets=NATURAL[:-1],
    published="advpt_table4_linear_probe.csv",
    methods=(AttackedMethod(name="linear_probe", probe=True),),
    threats=("clean", "pgd40"),
)
ADVPT_TABLE_5: Final = NearestWords(
    id="advpt-table5",
    paper="advpt",
    source="Table 5",
    title="words nearest to the learned context vectors",
    backbones=VITS[:1],
    datasets=NATURAL,
    images=None,
    published="advpt_table5_nearest_words.csv",
    rows="rank",
    tuning=ADVPT,
)
TRADE_OFF: Final = replace(
    ADVPT_TABLE_1,
    id="advpt-trade-off",
    source="generalisation against robustness",
    title="clean accuracy against accuracy under PGD-40, CoOp and AdvPT",
    published=None,
    methods=(VANILLA, AttackedMethod(name="coop", tuning=CLEAN_TWIN), TUNED),
    threats=("clean", "pgd40"),
)
DOMAIN_SHIFT: Final = replace(
    ADVPT_TABLE_1,
    id="advpt-domain-shift",
    source="Fig. 6",
    title="prompts learned on ImageNet, tested on its variants",
    datasets=("imagenetv2", "imagenet-a", "imagenet-r", "imagenet-sketch"),
    published="advpt_fig6_domain_shift.csv",
    threats=("clean", "pgd40"),
    trained_on="imagenet",
)
NUMBER_OF_VECTORS: Final = replace(
    ADVPT_TABLE_1,
    id="advpt-vectors",
    source="number of vectors",
    title="AdvPT by context vectors, on Pets",
    backbones=VITS[:1],
    datasets=("pets",),
    published=None,
    rows="context vectors",
    methods=tuple(
        AttackedMethod(name=str(n_ctx), tuning=replace(ADVPT, n_ctx=n_ctx)) for n_ctx in (1, 2, 4, 8, 16, 32, 50)
    ),
    threats=("clean", "pgd40"),
)
EFFICIENCY: Final = TrainingEfficiency(
    id="advpt-efficiency",
    paper="advpt",
    source="Fig. 4 and 5",
    title="accuracy against training time: AdvPT, adversarial training, Fast AT",
    backbones=VITS[:1],
    datasets=("pets",),
    images=None,
    tuning=ADVPT,
    prompt_epochs=(1, 10, 100),
    encoder_epochs=(1, 3, 10),
)

PLAN: Final[tuple[AnyExperiment, ...]] = (
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TABLE_5,
    *FIGURE_2,
    *APPENDIX,
    ADVPT_TABLE_1,
    ADVPT_TABLE_2,
    ADVPT_TABLE_3,
    ADVPT_TABLE_4,
    ADVPT_TABLE_5,
    TRADE_OFF,
    DOMAIN_SHIFT,
    NUMBER_OF_VECTORS,
    EFFICIENCY,
)


def images_in_advpt(images: int | None, dataset: str) -> int | None:
    """Test images of a data set: of ImageNet one random image of each class, where all are asked for."""
    return 1000 if images is None and dataset == "imagenet" else images


def as_in_advpt(params: TuningParams, backbone: str, trained_on: str) -> TuningParams:
    """AdvPT's hyper-parameters for a backbone and a data set: those of a ViT-B/16, but for ViT-L/14 and ImageNet."""
    if backbone == "clip-vit-l-14":
        params = replace(params, lr=0.002)
    if trained_on == "imagenet":
        params = replace(params, epochs=5, batch_size=512)
    return params
