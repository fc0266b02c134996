fn main() {
    use burn::tensor::{DType, Device};
    use ivl_core::*;
    let dir = std::env::args().nth(1).unwrap();
    let c = ivl_models::Checkpoint::open(dir.as_ref()).unwrap();
    let net = c.load(&Device::flex(), DType::F32, &mut |_| ()).unwrap();
    let v = Vocab::new((0..c.config().vocab_size).map(|i| Some(Token::text(i.to_le_bytes()))).collect());
    let lm = ivl_models::TransformerLm::new(net, v, "x");
    let ids: Vec<u32> = std::env::args().skip(2).map(|x| x.parse().unwrap()).collect();
    let t = std::time::Instant::now();
    let out: Vec<u32> = generate(&lm, &[ids], &GenerateConfig { max_new_tokens: 60, ..Default::default() })
        .unwrap()
        .map(|s| s.unwrap().token)
        .collect();
    println!("{out:?} {:?}", t.elapsed());
}
