//! `--device` and `--place`: what they place, and what they refuse. `scripts/check-devices.py` compares two devices with one.

mod run;

use run::{base, command, fails, ok, stderr};

const TEXT: [&str; 2] = ["--text", "Suna lives in Oslo."];

fn score<'a>(models: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [&["score", "--json"][..], models, &TEXT, more].concat()
}

/// One device is a map with one device, whichever option names it.
#[test]
fn a_place_on_the_same_device_changes_no_bit() {
    let (large, small) = (base("large"), base("small"));
    let models = ["--base", large.as_str(), "--value", &small];
    let expected = ok(&score(&models, &["--device", "cpu"]));
    for places in [&["value=cpu"][..], &["base=3@cpu", "small=cpu"], &["base=cpu", "value=2@cpu"]] {
        let places: Vec<&str> = places.iter().flat_map(|place| ["--place", place]).collect();
        assert_eq!(ok(&score(&models, &places)), expected, "{places:?}");
    }
}

#[test]
fn verbose_prints_the_device_map_of_each_model() {
    let (large, small) = (base("large"), base("small"));
    let models = ["--base", large.as_str(), "--value", &small];
    let told = stderr(&command(&score(&models, &["-v", "--device", "cpu"])).output().expect("starts"));
    for (model, layers) in [(&large, 3), (&small, 2)] {
        let line = format!("device map: `{model}`: cpu has all {layers} layers, as stored");
        assert!(told.contains(&line), "`{line}` is not in: {told}");
    }
    let quiet = stderr(&command(&score(&models, &["-v", "--quiet"])).output().expect("starts"));
    assert!(!quiet.contains("device map"), "{quiet}");
}

#[test]
fn devices_that_cannot_be_meant_are_refused() {
    let (large, small) = (base("large"), base("small"));
    let models = ["--base", large.as_str(), "--value", &small];
    let refused = |more: &[&str], parts: &[&str]| fails(&score(&models, more), parts);
    refused(
        &["--device", "cpu,cpu"],
        &["the device list is `cpu,cpu`: `cpu` occurs twice; expected each device once"],
    );
    refused(&["--device", "cpu,tpu"], &["the device is `tpu`, expected auto, cpu, cuda, cuda:N or wgpu"]);
    refused(&["--device", "4@cpu"], &["it names devices for 4 layers, but `base` has 3"]);
    refused(&["--place", "value=x@cpu"], &["`x@cpu` has `x` layers; expected a whole number above 0"]);
    refused(
        &["--place", "polite=cpu"],
        &["devices are named for `polite`, expected one of base, value, small", "--place name"],
    );
    refused(&["--place", "base=cpu", "--place", "base=cpu"], &["one place for each model"]);
    if cfg!(not(feature = "cuda")) {
        refused(&["--device", "cpu,cuda:1"], &["built without CUDA"]);
    }
    // Verbs that use one device for everything.
    fails(&["parity", &large, "--device", "cpu,cpu"], &["the device is `cpu,cpu`, expected one"]);
    let place = ["--place", "base=cpu"];
    fails(&[&["parity", &large][..], &place].concat(), &["devices are named for `base` (`cpu`)"]);
    fails(&[&["bench", &large][..], &place].concat(), &["devices are named for `base` (`cpu`)"]);
    let config = run::repository().join("examples/first-value/train.toml").display().to_string();
    let output = tempfile::tempdir().expect("temporary directory");
    let set = format!("output='{}'", output.path().join("value").display());
    fails(
        &[&["train", &config, "--set", &set][..], &place].concat(),
        &["devices are named for `base` (`cpu`)"],
    );
}
