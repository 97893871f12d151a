//! A picture, row by row: the same by every kind of exchange.

use ipc_exchange::{Exchange, ExchangeOptions, pmap};

use crate::watch::Watch;

const WIDTH: u32 = 64;
const HEIGHT: u32 = 48;

/// A row of a picture of two balls in the light.
pub(crate) fn render_row(y: u32) -> Vec<u8> {
    (0..WIDTH).map(|x| pixel(x, y)).collect()
}

fn pixel(x: u32, y: u32) -> u8 {
    let at = |n: u32, of: u32| f64::from(n) / f64::from(of) * 2.0 - 1.0;
    let ray = [at(x, WIDTH), at(y, HEIGHT), 1.5];
    let balls = [([0.2, 0.1, 3.0], 0.9), ([-0.8, -0.3, 2.5], 0.5)];
    let dot = |a: [f64; 3], b: [f64; 3]| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    let mut nearest = (f64::INFINITY, 0.0);
    for (center, radius) in balls {
        let (a, b) = (dot(ray, ray), dot(ray, center));
        let discriminant = b * b - a * (dot(center, center) - radius * radius);
        if discriminant < 0.0 {
            continue;
        }
        let distance = (b - discriminant.sqrt()) / a;
        if distance > 0.0 && distance < nearest.0 {
            let normal = [0, 1, 2].map(|n| (ray[n] * distance - center[n]) / radius);
            nearest = (distance, dot(normal, [-0.6, -0.6, -0.5]).max(0.05));
        }
    }
    (nearest.1 * 255.0) as u8
}

pub(crate) fn scene() {
    const LIMIT: usize = 3;
    let watch = Watch::start();
    let sequential: Vec<Vec<u8>> = (0..HEIGHT).map(render_row).collect();
    assert!(sequential.concat().iter().any(|pixel| *pixel > 100));

    let map = pmap(render_row, 0..HEIGHT, LIMIT).unwrap();
    let parallel: Vec<_> = map.map(Result::unwrap).collect();
    assert_eq!(parallel, sequential);

    for reuse in [true, false] {
        let exchange = ExchangeOptions::new()
            .limit(LIMIT)
            .reuse(reuse)
            .open()
            .unwrap();
        let ordered: Vec<_> = exchange
            .map(render_row, 0..HEIGHT)
            .map(Result::unwrap)
            .collect();
        assert_eq!(ordered, sequential);
        exchange.finish();
    }

    let exchange = Exchange::new(LIMIT).unwrap();
    let mut queue = exchange.queue();
    for y in 0..HEIGHT {
        queue.start(render_row, y).unwrap();
    }
    let (mut picture, mut percent) = (vec![Vec::new(); HEIGHT as usize], Vec::new());
    queue.finish(|y, row| {
        picture[y as usize] = row.unwrap();
        percent.push((percent.len() + 1) * 100 / HEIGHT as usize);
    });
    assert_eq!(picture, sequential);
    assert!(percent.is_sorted() && percent.last() == Some(&100));
    exchange.finish();
    // The workers of the map end by themselves, beside those of the next exchange.
    watch.finish(2 * LIMIT);
}
