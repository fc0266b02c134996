//! Transfer on models small enough to compute by hand: what is seen under teacher forcing, and what a report makes of it.

use burn::tensor::{Device, Int, Tensor};
use ivl_core::cache::LayerCache;
use ivl_core::vocab::Token;
use ivl_core::{Cache, CausalLm, Error, FusedLm, Value, Vocab};
use ivl_eval::explanation::heat_map;
use ivl_eval::transfer::report::{AnswerOf, HeatMap, Report, ReportExample, markdown};
use ivl_eval::transfer::{
    AnswerStats, Effect, MapCoverage, Measured, MeasuredBase, Passage, QuestionPrompt, Transfer,
    TransferSource, answer_greedily, answer_stats, tuned_answer_stats,
};

/// After token `t` the next logits are row `t` of a table.
#[derive(Clone)]
struct Bigram(Vocab, Tensor<2>);

impl CausalLm for Bigram {
    fn vocab(&self) -> &Vocab {
        &self.0
    }
    fn max_positions(&self) -> usize {
        64
    }
    fn device(&self) -> Device {
        self.1.device()
    }
    fn new_cache(&self, padding: &[usize]) -> Cache {
        Cache::Layers(LayerCache::new(0, padding))
    }
    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Result<Tensor<3>, Error> {
        let [batch, seq] = tokens.dims();
        cache.layers(0)?.advance(seq);
        Ok(self.1.clone().select(0, tokens.reshape([-1])).reshape([batch, seq, 3]))
    }
}

fn vocab() -> Vocab {
    Vocab::new(["a", "b", "c"].map(|text| Some(Token::text(text.as_bytes().to_vec()))).to_vec())
}

fn bigram(rows: [[f32; 3]; 3]) -> Box<Bigram> {
    Box::new(Bigram(vocab(), Tensor::from_floats(rows, &Device::flex())))
}

/// `a` is followed by `a` half of the time and by `b` and `c` a quarter each.
fn base() -> Box<Bigram> {
    let after_a = [0.5_f32, 0.25, 0.25].map(f32::ln);
    bigram([after_a, [0.0; 3], [1.0, 2.0, 0.0]])
}

/// Doubles `b` after `a`.
fn value() -> Box<Bigram> {
    bigram([[0.0, 2.0_f32.ln(), 0.0], [0.0; 3], [0.5, -1.0, 2.0]])
}

fn fused(alpha: f64) -> FusedLm {
    FusedLm::new(base(), vec![Value::new(value(), alpha)]).expect("one vocabulary")
}

fn passages() -> Vec<Passage> {
    vec![
        Passage { ids: vec![0, 1], loss_mask: vec![false, true] },
        Passage { ids: vec![2, 0, 1, 2, 0], loss_mask: vec![true, false, true, true, true] },
        Passage { ids: vec![1, 2, 2], loss_mask: vec![false, true, true] },
    ]
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-6, "{a} is not {b}");
}

#[test]
fn numbers_by_hand() {
    let lm = fused(1.0);
    let seen = answer_stats(&lm, &[vec![1.0]], &passages()[..1], &mut |_| ()).expect("reads");
    let (alone, with) = (seen.alone[0], seen.with[0][0]);
    // Base 1/2, 1/4, 1/4; with the value 2/5, 2/5, 1/5.
    let log = f64::ln;
    assert_eq!((alone.tokens, with.tokens), (1, 1));
    close(alone.nll, log(4.0));
    close(with.nll, log(2.5));
    close(alone.entropy, 0.5 * log(2.0) + 0.5 * log(4.0));
    close(with.entropy, 0.8 * log(2.5) + 0.2 * log(5.0));
    close(with.kl, 0.4 * log(0.8) + 0.4 * log(1.6) + 0.2 * log(0.8));
    close(alone.kl, 0.0);
    // The added logits, minus their mean, are -1/3, 2/3, -1/3 of log 2.
    close(with.change, log(2.0) * (6.0_f64 / 9.0 / 3.0).sqrt());
    close(with.flips, 0.0);
    let strong = answer_stats(&lm, &[vec![2.0]], &passages()[..1], &mut |_| ()).expect("reads");
    close(strong.with[0][0].flips, 1.0);
}

#[test]
fn many_weights_are_as_many_runs() {
    let (alphas, passages) = ([0.0, 0.5, 1.0, 1.75], passages());
    let weights = alphas.map(|alpha| vec![alpha]);
    let mut read = Vec::new();
    let together =
        answer_stats(&fused(1.0), &weights, &passages, &mut |done| read.push(done)).expect("reads");
    assert_eq!(read.last(), Some(&3));
    for ((alpha, weights), with) in alphas.into_iter().zip(&weights).zip(&together.with) {
        let apart = tuned_answer_stats(&*base(), &fused(alpha), &passages, &mut |_| ()).expect("reads");
        let singly: Vec<AnswerStats> = passages
            .iter()
            .map(|passage| {
                let one = std::slice::from_ref(passage);
                answer_stats(&fused(0.0), std::slice::from_ref(weights), one, &mut |_| ())
                    .expect("reads")
                    .with[0][0]
            })
            .collect();
        for other in [&apart, &singly] {
            for (a, b) in with.iter().zip(other) {
                assert_eq!(a.tokens, b.tokens);
                let pairs = [
                    (a.nll, b.nll),
                    (a.kl, b.kl),
                    (a.entropy, b.entropy),
                    (a.change, b.change),
                    (a.flips, b.flips),
                ];
                for (a, b) in pairs {
                    close(a, b);
                }
            }
        }
    }
    // A fine-tuning that is the fused model is seen as the fused model.
    let tuned = bigram([[0.5_f32.ln(), 0.5_f32.ln(), 0.25_f32.ln()], [0.0; 3], [1.5, 1.0, 2.0]]);
    let seen = tuned_answer_stats(&*base(), &*tuned, &passages, &mut |_| ()).expect("reads");
    for (a, b) in seen.iter().zip(&together.with[2]) {
        close(a.nll, b.nll);
        close(a.kl, b.kl);
    }
}

#[test]
fn one_pass_serves_several_values() {
    let other = || bigram([[1.0, 0.0, -1.0], [0.5; 3], [0.0, 2.0, 1.0]]);
    let with = |value: Box<Bigram>, alpha| {
        FusedLm::new(base(), vec![Value::new(value, alpha)]).expect("one vocabulary")
    };
    let both = FusedLm::on(fused(0.0), vec![Value::new(other(), 0.0)]).expect("one vocabulary");
    let weights = [vec![0.5, 0.0], vec![0.0, 2.0]];
    let together = answer_stats(&both, &weights, &passages(), &mut |_| ()).expect("reads");
    for (seen, lm) in together.with.iter().zip([with(value(), 0.5), with(other(), 2.0)]) {
        let alone = tuned_answer_stats(&*base(), &lm, &passages(), &mut |_| ()).expect("reads");
        for (a, b) in seen.iter().zip(&alone) {
            close(a.nll, b.nll);
            close(a.kl, b.kl);
        }
    }
}

#[test]
fn answers_are_compared_whole() {
    // a is followed by b, b by c, c by c.
    let lm = bigram([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]);
    let prompt =
        |reference: &str, limit| QuestionPrompt { ids: vec![0], reference: reference.to_owned(), limit };
    let prompts = [prompt("bcc", 3), prompt(" b ", 1), prompt("b", 3)];
    let right = |prompts: &[QuestionPrompt]| -> Vec<bool> {
        let answers = answer_greedily(&*lm, prompts, &[], &mut |_| ()).expect("generates");
        answers.iter().map(|answer| answer.correct).collect()
    };
    assert_eq!(right(&prompts[..1]), [true]);
    assert_eq!(right(&prompts[1..2]), [true]);
    assert_eq!(right(&prompts[2..]), [false]);
    // One that may go on longer does not lengthen its neighbours.
    assert_eq!(right(&prompts), [true, true, false]);
    let ended = answer_greedily(&*lm, &prompts[2..], &[2], &mut |_| ()).expect("generates");
    assert_eq!((ended[0].text.as_str(), ended[0].correct), ("b", true));
}

/// A base that answers `right` of 40 questions, with a loss to match.
fn measured(right: usize) -> Measured {
    let answered =
        |index: usize| ivl_eval::transfer::GradedAnswer { text: "b".to_owned(), correct: index < right };
    let seen = |index: usize| AnswerStats {
        tokens: 2,
        nll: if index < right { 0.2 } else { 2.0 },
        ..AnswerStats::default()
    };
    Measured { observed: (0..40).map(seen).collect(), answers: Some((0..40).map(answered).collect()) }
}

fn measured_base(name: &str, home: bool, right: [usize; 4]) -> MeasuredBase {
    let [alone, half, whole, tuned] = right;
    MeasuredBase {
        name: name.to_owned(),
        home,
        coverage: MapCoverage { vocabulary: 1.0, answers: 1.0, exact: 1.0 },
        alone: measured(alone),
        with: vec![vec![measured(half)], vec![measured(whole)]],
        tuned: vec![measured(tuned)],
    }
}

fn study(bases: &[MeasuredBase]) -> Transfer {
    let source = TransferSource {
        values: vec!["runs/<value>".to_owned()],
        data: "a \"b\".jsonl".to_owned(),
        alphas: vec![0.5, 1.0],
        tuned_seeds: 1,
    };
    Transfer::new(source, bases, 7)
}

#[test]
fn the_table_says_what_was_recovered_and_the_verdict_where() {
    let transfer = study(&[
        measured_base("small", true, [0, 10, 30, 32]),
        measured_base("large", false, [4, 12, 28, 36]),
        measured_base("other", false, [8, 9, 8, 30]),
        measured_base("worse", false, [30, 20, 4, 36]),
    ]);
    let large = &transfer.bases[1];
    let with = large.at(1.0).expect("measured");
    close(with.exact_match.as_ref().expect("answers").mean, 0.7);
    close(with.recovered.expect("a gap").value, 24.0 / 32.0);
    close(with.recovered_loss.expect("a gap").value, 24.0 / 32.0);
    let n = 40.0_f64;
    close(with.exact_match.as_ref().expect("answers").standard_error, (0.7 * 0.3 * n / (n - 1.0) / n).sqrt());
    assert_eq!(transfer.verdict.alpha, 1.0, "as trained: half of it is no better");
    let effects: Vec<Effect> = transfer.verdict.bases.iter().map(|base| base.effect).collect();
    assert_eq!(effects, [Effect::Helps, Effect::Helps, Effect::Unclear, Effect::Harms]);
    let text = &transfer.verdict.text;
    assert!(
        text.starts_with(
            "The value helps 1 of the 3 bases that its training never saw: large (+60.0 points, 75%"
        ),
        "{text}"
    );
    assert!(text.contains("No clear difference on other") && text.contains("It harms worse"), "{text}");
    let better = study(&[measured_base("large", false, [4, 38, 20, 36])]);
    assert_eq!(better.verdict.alpha, 0.5, "clearly better");
}

#[test]
fn a_fine_tuning_that_does_harm_leaves_no_gap() {
    // Fine-tuning takes the base from 30 right answers to 10. A value that harms as much recovers nothing, nor does one that
    // helps.
    let transfer = study(&[measured_base("large", false, [30, 38, 8, 10])]);
    let json = serde_json::to_value(&transfer).expect("JSON");
    for with in json["bases"][0]["with"].as_array().expect("alphas") {
        assert!(with["recovered"].is_null() && with["recovered_loss"].is_null(), "{with}");
        assert_eq!(with["recovered_by_seed"], serde_json::json!([]));
        assert!(with["gain"]["low"].is_number(), "{with}");
    }
    assert!(json["verdict"]["bases"][0]["recovered"].is_null());
    let text = markdown(&transfer);
    assert_eq!(text.matches("| no gap |").count(), 2, "of answers and of losses: {text}");
    assert!(!text.contains("NaN") && !transfer.verdict.text.contains("gap"), "{text}");
}

#[test]
fn a_single_question_gives_no_verdict() {
    let one = |right: usize| {
        let mut measured = measured(right);
        measured.observed.truncate(1);
        measured.answers = measured.answers.map(|answers| answers[..1].to_vec());
        measured
    };
    let mut base = measured_base("large", false, [0, 0, 1, 1]);
    (base.alone, base.with, base.tuned) = (one(0), vec![vec![one(1)], vec![one(1)]], vec![one(1)]);
    let transfer = study(&[base]);
    assert_eq!(transfer.verdict.bases[0].effect, Effect::TooFewQuestions);
    assert_eq!(transfer.verdict.alpha, 1.0, "as trained");
    assert_eq!(transfer.verdict.text, "1 question is too few for a verdict, which needs at least 10.");
    let json = serde_json::to_value(&transfer).expect("JSON");
    let gain = &json["bases"][0]["with"][0]["gain"];
    assert!(gain["value"] == 1.0 && gain["low"].is_null() && gain["high"].is_null(), "{gain}");
    let text = markdown(&transfer);
    assert!(text.contains("| 0.0 | 100.0 | 100.0 | too few questions |") && !text.contains("NaN"), "{text}");
    let html = Report { transfer: &transfer, examples: Vec::new(), heat_map: None }.html();
    assert!(html.contains("too few questions") && !html.contains("NaN"));
}

#[test]
fn a_report_stands_alone_and_nothing_in_it_is_markup() {
    let transfer = study(&[measured_base("<script>alert(1)</script>", false, [4, 12, 28, 36])]);
    let hostile = "</td><img src=x onerror=alert(1)>";
    let of = AnswerOf {
        base: hostile.to_owned(),
        alone: (hostile.to_owned(), false),
        with: (hostile.to_owned(), true),
    };
    let report = Report {
        transfer: &transfer,
        examples: vec![ReportExample {
            question: hostile.to_owned(),
            reference: hostile.to_owned(),
            answers: vec![of],
        }],
        heat_map: Some(&HeatMap { base: hostile.to_owned(), html: heat_map(&vocab(), &[0], &[None], &[]) }),
    };
    let html = report.html();
    for forbidden in ["<script", "<img", "src=\"", "href=", "url(", "@import"] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    assert!(html.contains("&lt;/td&gt;&lt;img src=x") && html.contains("runs/&lt;value&gt;"));
    assert_eq!(html.matches("<svg ").count(), 3, "bars, shares and curves");
    assert_eq!(html.matches("role=\"img\" aria-label=\"").count(), 3 + 2, "charts and marks have names");
    assert_eq!(html.matches("<table").count(), html.matches("</table>").count());
    assert!(html.contains("75% [") && html.contains("<th scope=\"row\">"));
    let text = markdown(&transfer);
    assert!(text.contains("| 10.0 ± 4.8 | 70.0 ± 7.3 | 90.0 ± 4.8 | 75% ["), "{text}");
}
