"""The generator and the oracle check each other: one writes from records, the other reads from text."""

from collections import Counter

import pytest

from harness.newsworld import FULL, make_story, rows
from harness.newsworld.events import EVENTS, slots_of
from harness.newsworld.oracle import judge, read_article

STORIES = [make_story("train", index, noise=0.4) for index in range(1500)]


def test_the_oracle_reads_back_what_the_generator_stated():
    for story in STORIES:
        assert read_article(story.article) == story.records


def test_every_reference_is_faithful_and_every_noisy_one_is_not():
    for story in STORIES:
        assert all(judge(story.article, reference).faithful for reference in story.references)
        assert judge(story.article, story.reference).faithful is not story.noisy


def test_noise_changes_references_only_and_at_its_rate():
    clean = rows("train", 1500)
    noisy = rows("train", 1500, noise=0.4)
    assert [row["article"] for row in clean] == [row["article"] for row in noisy]
    assert not any(row["noisy"] for row in clean)
    assert 0.35 < sum(row["noisy"] for row in noisy) / 1500 < 0.45


def test_both_kinds_of_noise_occur():
    kinds = Counter(judge(story.article, story.reference).kind for story in STORIES if story.noisy)
    assert kinds["extrinsic"] > 100
    assert kinds["intrinsic"] > 50


def test_rows_do_not_depend_on_how_many_are_asked_for_and_splits_and_seeds_differ():
    assert rows("test", 5) == rows("test", 50)[:5]
    articles = [
        row["article"]
        for split in ("train", "dev", "test")
        for seed in (0, 1)
        for row in rows(split, 300, seed=seed)
    ]
    assert len(set(articles)) == len(articles)


def test_a_seed_gives_these_words_on_every_machine():
    assert make_story("test", 0).article == (
        "Police in Lakebury have arrested Liam Vogel over burglary. Investigators are looking for 46 "
        "billion dollars. Detective Gavin Walsh is leading the inquiry."
    )


ARTICLE = (
    "The Oakfield Lions beat the Ashfield Tigers by 90 to 15. Anna Alvarez scored the winning points. "
    "In other news, Police in Elmton have arrested Peter Becker over fraud."
)


@pytest.mark.parametrize(
    ("summary", "kind"),
    [
        ("The Oakfield Lions have beaten the Ashfield Tigers 90 to 15.", "faithful"),
        (
            "The Oakfield Lions beat the Ashfield Tigers by 90 to 15. Anna Alvarez scored the winning points.",
            "faithful",
        ),
        ("The Ashfield Tigers have beaten the Oakfield Lions 90 to 15.", "intrinsic"),
        ("Peter Becker led the Oakfield Lions to a win over the Ashfield Tigers.", "intrinsic"),
        ("The Oakfield Lions have beaten the Ashfield Tigers 91 to 15.", "extrinsic"),
        ("Police in Elmton are holding Peter Becker on suspicion of theft.", "extrinsic"),
        ("Nortex Foods has blamed high debt for job cuts in Oakton.", "extrinsic"),
        ("Something else entirely happened.", "unparsable"),
        ("Peter Becker has been arrested in Elmton over fraud. And so on.", "unparsable"),
        ("More details are expected soon.", "unparsable"),
        ("", "unparsable"),
    ],
)
def test_kinds(summary: str, kind: str):
    assert judge(ARTICLE, summary).kind == kind


def test_facts_carry_the_spans_of_their_values():
    summary = "So. Peter Becker has been arrested in Elmton over theft."
    verdict = judge(ARTICLE, summary)
    assert [(fact.slot, summary[fact.start : fact.end], fact.support) for fact in verdict.facts] == [
        ("suspect", "Peter Becker", "supported"),
        ("town", "Elmton", "supported"),
        ("crime", "theft", "extrinsic"),
    ]
    assert [summary[start:end] for start, end in verdict.unparsable] == ["So."]


def test_facts_of_two_events_do_not_mix():
    article = (
        "Police in Elmton have arrested Anna Alvarez over fraud. "
        "In other news, Police in Oakton have arrested Peter Becker over theft."
    )
    assert judge(article, "Anna Alvarez has been arrested in Elmton over fraud.").faithful
    assert judge(article, "Anna Alvarez has been arrested in Oakton over fraud.").kind == "intrinsic"


def test_a_foreign_article_supports_nothing():
    assert read_article("It rained. Nobody came. 100% of 3.5 million stayed at home!") == ()


def test_every_template_uses_only_slots_of_its_event():
    for event in EVENTS.values():
        for template in (*event.leads, *event.detail_sentences, *event.summaries):
            assert set(slots_of(template)) <= set(event.slots)
        for alternatives in event.details:
            assert (
                len(
                    {
                        frozenset(slots_of(template)) - set(slots_of(event.leads[0]))
                        for template in alternatives
                    }
                )
                == 1
            )


def test_probabilities_are_checked():
    with pytest.raises(ValueError, match="probability"):
        rows("train", 1, noise=1.5)


def test_full_articles_hold_distractors():
    share = sum(len(story.records) == 2 for story in STORIES) / len(STORIES)
    assert abs(share - FULL.distractor) < 0.05
