"""A prompt reaches every node through Redis, whole and under its own record, until it is withdrawn."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from redis import Redis
from structlog.testing import capture_logs

from certrad.models.backbones.base import EMBEDDED, Backbone, load_backbone
from certrad.models.errors import Rejected
from certrad.models.prompts.checkpoint import load_prompt, prompt_path, write_card
from certrad.models.prompts.context import ContextVectors
from certrad.models.shipped import shipped_backbones, shipped_prompts, shipped_tasks
from certrad.models.types import PromptCard
from certrad.models.types.cards import ContextPosition
from certrad.models.types.tuned_on import TunedOn
from certrad.workers.cli import main as cli
from certrad.workers.contract.catalogue import Catalogue
from certrad.workers.contract.names import WITHDRAWN, prompt_bytes_key
from certrad.workers.engine.prompt_store import import_checkpoint, publish, publish_all, save_own
from certrad.workers.engine.runtime import Runtime, build
from certrad.workers.settings import WorkerSettings

TASK = shipped_tasks()["mednist"]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(shipped_backbones()["demo"], EMBEDDED)


@pytest.fixture
def checkpoint(backbone: Backbone, tmp_path: Path) -> Path:
    """A checkpoint as CoOp writes it."""
    context = ContextVectors.random(4, backbone.text_width, torch.Generator().manual_seed(1))
    path = tmp_path / "model.pth.tar-50"
    torch.save({"state_dict": {"ctx": context.vectors}, "epoch": 50}, path)
    return path


@pytest.fixture
def stored(checkpoint: Path, backbone: Backbone, settings: WorkerSettings) -> PromptCard:
    return import_checkpoint(
        checkpoint, name="site", backbone=backbone, task=TASK, directory=settings.prompts_dir, position="end"
    )


@pytest.fixture
def elsewhere(settings: WorkerSettings, redis: Redis, tmp_path: Path) -> Runtime:
    """An engine on a node that stores no prompt."""
    return build(settings.model_copy(update={"data_dir": tmp_path / "other"}), redis)


def test_a_node_without_the_prompt_gets_it_through_redis(
    stored: PromptCard, settings: WorkerSettings, redis: Redis, elsewhere: Runtime
) -> None:
    publish(redis, settings.prompts_dir, stored)
    card, context = elsewhere.prompt(stored.id)
    assert card == stored
    assert context.n_ctx == 4


def test_bytes_that_are_not_the_card_s_are_refused(
    stored: PromptCard, settings: WorkerSettings, redis: Redis, elsewhere: Runtime
) -> None:
    publish(redis, settings.prompts_dir, stored)
    redis.set(prompt_bytes_key(stored.sha256), b"something else")
    with pytest.raises(Rejected, match="digest_mismatch"):
        elsewhere.prompt(stored.id)


def test_bytes_that_are_not_the_card_s_are_not_kept(
    stored: PromptCard, settings: WorkerSettings, redis: Redis, elsewhere: Runtime
) -> None:
    publish(redis, settings.prompts_dir, stored)
    redis.set(prompt_bytes_key(stored.sha256), b"something else")
    with pytest.raises(Rejected, match="digest_mismatch"):
        elsewhere.prompt(stored.id)
    publish(redis, settings.prompts_dir, stored)
    assert elsewhere.prompt(stored.id)[0] == stored


def test_damaged_bytes_do_not_replace_the_good_copy(stored: PromptCard, settings: WorkerSettings, redis: Redis) -> None:
    publish(redis, settings.prompts_dir, stored)
    good = redis.get(prompt_bytes_key(stored.sha256))
    prompt_path(settings.prompts_dir, stored.id).write_bytes(b"something else")
    with pytest.raises(Rejected, match="digest_mismatch"):
        publish(redis, settings.prompts_dir, stored)
    assert redis.get(prompt_bytes_key(stored.sha256)) == good


def no_json(directory: Path, card: PromptCard) -> str:
    (directory / "a-broken.json").write_text("{")
    return "a-broken"


def no_card(directory: Path, card: PromptCard) -> str:
    (directory / "a-broken.json").write_text(json.dumps({"class_names": ["a", "b"]}))
    return "a-broken"


def not_an_object(directory: Path, card: PromptCard) -> str:
    (directory / "a-broken.json").write_text("[]")
    return "a-broken"


def wrong_type(directory: Path, card: PromptCard) -> str:
    (directory / "a-broken.json").write_text(json.dumps({**asdict(card), "n_ctx": "four"}))
    return "a-broken"


def no_bytes(directory: Path, card: PromptCard) -> str:
    other = replace(card, id=f"a-{card.sha256[:16]}")
    write_card(directory, other)
    return other.id


def no_safe_id(directory: Path, card: PromptCard) -> str:
    text = json.dumps({**asdict(card), "id": "../escape"})
    (directory / "a-broken.json").write_text(text)
    return "a-broken"


def other_bytes(directory: Path, card: PromptCard) -> str:
    other = replace(card, id=f"a-{card.sha256[:16]}")
    write_card(directory, other)
    prompt_path(directory, other.id).write_bytes(b"something else")
    return other.id


@pytest.mark.parametrize("damage", [no_json, no_card, not_an_object, wrong_type, no_bytes, no_safe_id, other_bytes])
def test_a_damaged_prompt_is_logged_by_name_and_the_others_are_published(
    damage: Callable[[Path, PromptCard], str], stored: PromptCard, settings: WorkerSettings, redis: Redis
) -> None:
    name = damage(settings.prompts_dir, stored)
    with capture_logs() as logs:
        publish_all(redis, settings.prompts_dir)
    published = Catalogue(redis).prompts()
    assert stored.id in published
    assert name not in published
    assert [line["prompt"] for line in logs] == [name]


RECORD = TunedOn(public=("ab" * 32,))


def test_an_older_card_without_a_record_does_not_take_that_of_the_catalogue(
    stored: PromptCard, settings: WorkerSettings, redis: Redis
) -> None:
    Catalogue(redis).publish_prompt(replace(stored, tuned_on=RECORD))
    publish_all(redis, settings.prompts_dir)
    assert Catalogue(redis).prompts()[stored.id].tuned_on == RECORD


def test_records_of_two_nodes_are_one(stored: PromptCard, redis: Redis) -> None:
    for record in (RECORD, TunedOn(public=("cd" * 32,), complete=False)):
        Catalogue(redis).publish_prompt(replace(stored, tuned_on=record))
    assert Catalogue(redis).prompts()[stored.id].tuned_on == TunedOn(public=("ab" * 32, "cd" * 32), complete=False)


def test_an_own_copy_of_a_prompt_of_the_package_keeps_its_record(redis: Redis) -> None:
    shipped = shipped_prompts()[str(TASK.default_prompt)]
    assert shipped.tuned_on is not None
    Catalogue(redis).publish_prompt(replace(shipped, tuned_on=None))
    assert Catalogue(redis).prompts()[shipped.id].tuned_on == shipped.tuned_on


def own(settings: WorkerSettings, backbone: Backbone, tenant: str, number: float) -> PromptCard:
    """A prompt that a tenant tuned."""
    context = ContextVectors(vectors=torch.full((2, backbone.text_width), number), position="end")
    facts: dict[str, object] = {"method": "few_shot", "backbone": backbone, "class_names": TASK.class_names}
    return save_own(settings.prompts_dir, tenant, context, name="own", task=TASK.id, **facts)


def seen(redis: Redis, tenant: str) -> list[str]:
    """The prompts of the store that a tenant sees."""
    return sorted(set(Catalogue(redis, tenant=tenant).prompts()) - set(shipped_prompts()))


def test_a_tuned_prompt_stays_its_tenants_when_a_node_publishes_it_again(
    settings: WorkerSettings, backbone: Backbone, redis: Redis
) -> None:
    cards = [own(settings, backbone, tenant, number) for tenant, number in (("one", 0.1), ("one", 0.2), ("two", 0.2))]
    for _ in range(2):
        publish_all(redis, settings.prompts_dir)
        assert seen(redis, "one") == sorted({card.id for card in cards})
        assert seen(redis, "two") == [cards[2].id]
        assert seen(redis, "three") == []
        redis.flushall()


def test_a_prompt_of_everyone_stays_everyones(stored: PromptCard, settings: WorkerSettings, redis: Redis) -> None:
    publish_all(redis, settings.prompts_dir)
    Catalogue(redis).publish_prompt(stored, ["one"])
    assert seen(redis, "two") == [stored.id]


def test_each_owner_withdraws_a_common_prompt_for_itself(
    settings: WorkerSettings, backbone: Backbone, redis: Redis
) -> None:
    for tenant in ("one", "two"):
        card = own(settings, backbone, tenant, 0.1)
    publish_all(redis, settings.prompts_dir)
    Catalogue(redis, tenant="one").withdraw_prompt(card.id)
    assert (seen(redis, "one"), seen(redis, "two")) == ([], [card.id])
    Catalogue(redis, tenant="one").reinstate_prompt(card.id)
    assert seen(redis, "one") == [card.id]


def test_a_withdrawn_prompt_serves_the_jobs_it_was_accepted_for(
    stored: PromptCard, settings: WorkerSettings, redis: Redis, elsewhere: Runtime
) -> None:
    publish(redis, settings.prompts_dir, stored)
    Catalogue(redis).withdraw_prompt(stored.id)
    assert elsewhere.prompt(stored.id)[0] == stored


def test_a_withdrawn_prompt_of_the_package_serves_too(elsewhere: Runtime) -> None:
    shipped = next(iter(shipped_prompts().values()))
    elsewhere.catalogue.withdraw_prompt(shipped.id)
    assert elsewhere.prompt(shipped.id)[0] == shipped


def test_a_prompt_that_was_never_published_is_unknown(stored: PromptCard, elsewhere: Runtime) -> None:
    assert elsewhere.catalogue.prompt(stored.id) is None
    with pytest.raises(Rejected, match="unknown_prompt"):
        elsewhere.prompt(stored.id)


def test_a_withdrawn_prompt_is_no_default(stored: PromptCard, settings: WorkerSettings, redis: Redis) -> None:
    catalogue = Catalogue(redis)
    publish(redis, settings.prompts_dir, stored)
    catalogue.choose_default(TASK.id, stored.id)
    assert catalogue.default_prompts(TASK.id)[0] == stored
    catalogue.withdraw_prompt(stored.id)
    assert stored not in catalogue.default_prompts(TASK.id)


def test_instead_of_a_default_that_was_never_published_the_tasks_own_serve(redis: Redis) -> None:
    catalogue = Catalogue(redis)
    catalogue.choose_default(TASK.id, "site-0000000000000000")
    assert [card.id for card in catalogue.default_prompts(TASK.id)] == [TASK.default_bank, TASK.default_prompt]


def test_a_starting_engine_does_not_bring_a_withdrawn_prompt_back(
    stored: PromptCard, settings: WorkerSettings, redis: Redis
) -> None:
    publish(redis, settings.prompts_dir, stored)
    Catalogue(redis).withdraw_prompt(stored.id)
    publish_all(redis, settings.prompts_dir)
    assert redis.sismember(WITHDRAWN, stored.id)
    assert stored.id not in Catalogue(redis).prompts()


def test_the_command_imports_publishes_and_prints_the_card(
    checkpoint: Path,
    settings: WorkerSettings,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CERTRAD_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("CERTRAD_DATA_DIR", str(settings.data_dir))
    arguments = ["prompts", "import", str(checkpoint), "--backbone", "demo", "--task", "mednist", "--name", "site"]
    assert cli.main(arguments) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["method"] == "imported"
    assert card["id"] in Catalogue(redis).prompts()


@pytest.mark.parametrize("position", ["middle", "front"])
def test_a_checkpoint_is_laid_out_as_it_was_tuned(
    position: ContextPosition, checkpoint: Path, backbone: Backbone, tmp_path: Path
) -> None:
    card = import_checkpoint(
        checkpoint, name="site", backbone=backbone, task=TASK, directory=tmp_path, position=position
    )
    assert (card.position, load_prompt(tmp_path, card).position) == (position, position)


def test_class_specific_vectors_of_another_number_of_classes_are_refused(backbone: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "model.pth.tar-50"
    torch.save({"state_dict": {"ctx": torch.zeros(5, 4, backbone.text_width)}}, path)
    with pytest.raises(Rejected, match="prompt_mismatch"):
        import_checkpoint(path, name="site", backbone=backbone, task=TASK, directory=tmp_path, position="end")
