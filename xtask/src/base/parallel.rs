//! The same work on many things, several at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};

use super::interrupt;

/// Does `work` on each of `items`, `jobs` at a time; the results are in the order of the items.
/// `watch` is told several times a second how many are done.
pub fn map<T: Sync, R: Send>(
    jobs: usize,
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
    mut watch: impl FnMut(usize),
) -> Vec<R> {
    let mut results = items.iter().map(|_| None).collect::<Vec<_>>();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (sender, finished) = channel();
        for _ in 0..jobs.clamp(1, items.len().max(1)) {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else {
                        return;
                    };
                    if sender.send((index, work(item))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        loop {
            match finished.recv_timeout(interrupt::POLL) {
                Ok((index, result)) => results[index] = Some(result),
                Err(RecvTimeoutError::Timeout) => {
                    watch(results.iter().filter(|result| result.is_some()).count());
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    });
    results.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        let items = (0..100).collect::<Vec<_>>();
        let doubled = map(3, &items, |item| item * 2, |_| {});
        assert_eq!(doubled, (0..200).step_by(2).collect::<Vec<_>>());
        assert_eq!(map(3, &[], |item: &u8| *item, |_| {}), [0; 0]);
    }
}
