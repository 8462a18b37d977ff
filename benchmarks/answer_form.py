"""Measure both forms of a supervised answer, with a space before it and bare, in both prompt styles.

Prints for each style and form how often the prompts of the training questions contain the tokens of their own answer,
and how likely the untrained model finds the answers with text as input: the two measures of
``prompt.answer_form=auto`` (docs/method.md).

    python benchmarks/answer_form.py
"""

# ruff: noqa: T201 (it prints its result)

import argparse
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

from thinwire.config.settings import AnswerForm, DataConfig, EvaluationConfig, ModelConfig, PromptConfig
from thinwire.data.answer_form import measure_copies
from thinwire.data.prompts import PromptEncoder
from thinwire.data.splits import Splits
from thinwire.data.squad import Example
from thinwire.evaluation.answer_likelihood import log_likelihoods
from thinwire.files import write_json
from thinwire.model.language_model import LanguageModel
from thinwire.model.loading import load
from thinwire.results.provenance import environment


def measured(lm: LanguageModel, examples: list[Example], config: PromptConfig) -> dict[str, dict[str, Any]]:
    """Return the measures of each form, by its name."""
    encoder = PromptEncoder(lm.tokenizer, config)
    prompts = [encoder.encode(example, keep_answer=True) for example in examples]
    forms = get_args(AnswerForm)
    questions = [encoder.with_answer_in(form, prompt) for prompt in prompts for form in forms]
    found = log_likelihoods(lm, lm.embedding_matrix, questions)
    return {
        form: measure_copies(questions[place :: len(forms)])
        .model_copy(update={"log_likelihood": fmean(found[place :: len(forms)])})
        .model_dump()
        for place, form in enumerate(forms)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="what model.name takes")
    parser.add_argument("--questions", type=int, default=64, help="of the training split of SQuAD")
    parser.add_argument("--seed", type=int, default=0, help="draws the questions")
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    args = parser.parse_args()
    lm = load(ModelConfig(name=args.model))
    drawn = Splits(DataConfig(samples=args.questions), args.seed).drawn(
        EvaluationConfig(samples=1, selection_samples=1)
    )
    record: dict[str, Any] = {"model": lm.identity().model_dump(), "questions": len(drawn.train), "seed": args.seed}
    print("style  form   whole answer in prompt  first token in prompt  log-likelihood")
    for style in ("chat", "plain") if lm.tokenizer.chat_template else ("plain",):
        record[style] = measured(lm, drawn.train, PromptConfig(style=style))
        for form, values in record[style].items():
            shares = f"{values['in_prompt_share']:22.1%}  {values['first_token_in_prompt_share']:21.1%}"
            print(f"{style:5}  {form:5}  {shares}  {values['log_likelihood']:14.1f}", flush=True)
    if args.output:
        write_json(args.output, record | {"environment": environment(lm.device).model_dump(mode="json")})


if __name__ == "__main__":
    main()
