"""One GRPO step of TRL on torch, timed: float32 on the CPU, transformers' `generate`.

    FOLDER/trl/bin/python experiments/bench/trl_step.py --lengths=lengths.json --json=results.jsonl

A logits processor ends each completion at its length; `generate` pads the rows that have ended, and goes on to the
longest. Settings are those of `r1jax bench`, not TRL's own: no bfloat16, no rematerialisation, the KL term with a
reference model, every sequence's mean. torch uses as many threads as it likes.
"""

import argparse
import contextlib
import logging
import os
import tempfile
import time
import warnings

import step_work


def trainer_of(args: argparse.Namespace, folder: str, lengths: list[int], steps: list[dict[str, float]]):
    """A GRPOTrainer on this work, which appends the seconds of each step to `steps`."""
    import torch
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        LogitsProcessor,
        LogitsProcessorList,
        PreTrainedTokenizerFast,
        TrainerCallback,
    )
    from trl import GRPOConfig, GRPOTrainer

    special = {"<pad>": step_work.PAD, "<eos>": step_work.EOS}
    vocabulary = special | {str(i): i for i in range(step_work.VOCAB) if i not in special.values()}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, padding_side="left", pad_token="<pad>", eos_token="<eos>"
    )
    shape = LlamaConfig(
        vocab_size=step_work.VOCAB,
        hidden_size=step_work.WIDTH,
        intermediate_size=step_work.MLP,
        num_hidden_layers=step_work.LAYERS,
        num_attention_heads=step_work.HEADS,
        num_key_value_heads=step_work.KV_HEADS,
        head_dim=step_work.HEAD_DIM,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        pad_token_id=step_work.PAD,
        bos_token_id=None,
        eos_token_id=step_work.EOS,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(shape).save_pretrained(folder)  # TRL opens the reference model by its path
    tokenizer.save_pretrained(folder)
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)

    class EndAt(LogitsProcessor):
        """Lets a row end with its last token, and with no other."""

        ends = torch.tensor(lengths)

        def __call__(self, input_ids, scores):
            scores[:, [step_work.PAD, step_work.EOS]] = -torch.inf
            last = self.ends == input_ids.shape[1] - args.prompt_tokens + 1
            scores[last] = -torch.inf
            scores[last, step_work.EOS] = 0.0
            return scores

    generate = model.generate
    model.generate = lambda **arguments: generate(**arguments, logits_processor=LogitsProcessorList([EndAt()]))
    seconds = {"sampling": 0.0, "log-probs": 0.0}

    @contextlib.contextmanager
    def watch(phase):
        began = time.perf_counter()
        yield
        seconds[phase] += time.perf_counter() - began

    class TimedTrainer(GRPOTrainer):
        def _generate_single_turn(self, *arguments, **options):
            with watch("sampling"):
                return super()._generate_single_turn(*arguments, **options)

        def _get_per_token_logps_and_entropies(self, scored, *arguments, **options):
            with watch("log-probs") if scored is self.ref_model else contextlib.nullcontext():
                return super()._get_per_token_logps_and_entropies(scored, *arguments, **options)

    class Steps(TrainerCallback):
        """Steps from the end of one to the end of the next: loading of data and logging count."""

        began = 0.0

        def on_train_begin(self, *arguments, **options):
            self.began = time.perf_counter()

        def on_step_end(self, *arguments, **options):
            now = time.perf_counter()
            steps.append({"step": now - self.began, **seconds})
            seconds.update({"sampling": 0.0, "log-probs": 0.0})
            self.began = now

    def reward(completion_ids, **columns):
        step_work.check_lengths([len(ids) for ids in completion_ids], lengths)
        return [step_work.reward(ids) for ids in completion_ids]

    settings = GRPOConfig(
        output_dir=folder,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=len(lengths) // args.microbatches,
        gradient_accumulation_steps=args.microbatches,
        num_generations=args.samples,
        max_completion_length=max(lengths),
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        beta=0.001,
        num_iterations=1,
        loss_type="grpo",
        scale_rewards="group",
        learning_rate=1e-5,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=1.0,
        max_steps=args.warmup + args.steps,
        save_strategy="no",
        report_to="none",
        logging_steps=1,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    return TimedTrainer(
        model=model,
        reward_funcs=reward,
        args=settings,
        train_dataset=Dataset.from_dict({"prompt": step_work.draw_prompts(args)}),
        processing_class=tokenizer,
        callbacks=[Steps()],
    )


def main() -> None:
    args = step_work.parser(__doc__.partition("\n")[0]).parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TRL_EXPERIMENTAL_SILENCE": "1"}
    warnings.filterwarnings("ignore")
    import torch
    import transformers
    import trl

    logging.getLogger("transformers").setLevel(logging.ERROR)
    lengths, steps = step_work.completion_lengths(args), []
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(args, folder, lengths, steps)
        before = next(trainer.model.parameters()).detach().clone()
        trainer.train()
        if torch.equal(before, next(trainer.model.parameters())):
            raise RuntimeError("the weights did not change")
    step_work.write_result(
        args,
        lengths,
        steps,
        trl=trl.__version__,
        transformers=transformers.__version__,
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        parameters=sum(weight.numel() for weight in trainer.model.parameters()),
    )


if __name__ == "__main__":
    main()
