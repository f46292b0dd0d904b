//! The kernels of a run, one after the other: those of the release are fetched while
//! another one is tested, a bounded number ahead, and deleted when they have been
//! tested if the disk is to be spared.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};

use anyhow::{Error, Result};

use crate::asset::PackageName;
use crate::event::Stage;
use crate::fetch::{self, Choice, Sources};
use crate::interrupt;
use crate::kernel::LocalKernel;
use crate::layout::Layout;
use crate::list::disk_usage;
use crate::prune::local;
use crate::request::KernelRequest;
use crate::store;
use crate::ui::Ui;

/// How the disk and the network are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// So many kernels at most are fetched before their turn; 0: none.
    pub ahead: usize,
    /// Kernels that came from the release and have been tested are deleted, the
    /// first ones first, while all unpacked kernels take more bytes than this.
    pub budget: Option<u64>,
}

/// Gives `work` a queue of the kernels that the requests ask for, in their order.
///
/// # Errors
///
/// Those of `work`.
pub fn with<T>(
    requests: &[Option<KernelRequest>],
    sources: &Sources,
    options: Options,
    layout: &Layout,
    ui: &Ui,
    work: impl FnOnce(&mut Queue<'_>) -> Result<T>,
) -> Result<T> {
    let choices = requests
        .iter()
        .map(|request| fetch::choose(request.as_ref(), sources, layout, ui))
        .collect::<VecDeque<_>>();
    let remote = |choice: &Result<Choice>| match choice {
        Ok(choice @ Choice::Release(_)) => Some(choice.clone()),
        _ => None,
    };
    let early = match options.ahead {
        0 => Vec::new(),
        _ => choices.iter().filter_map(remote).collect::<Vec<_>>(),
    };
    std::thread::scope(|scope| {
        let fetched = (!early.is_empty()).then(|| {
            // One is in the thread's hands while the channel is full.
            let (sender, fetched) = sync_channel(options.ahead - 1);
            scope.spawn(move || {
                for choice in &early {
                    let kernel = fetch::obtain(None, choice, &sources.client, layout, ui);
                    if sender.send(kernel).is_err() {
                        return;
                    }
                }
            });
            fetched
        });
        let mut queue = Queue {
            requests,
            choices,
            fetched,
            tested: Vec::new(),
            sources,
            options,
            layout,
            ui,
        };
        // What is fetched when this returns is whole or gone: the thread notices at
        // its next kernel that nobody waits, and before that a signal.
        work(&mut queue)
    })
}

/// What is still to be tested.
pub struct Queue<'q> {
    requests: &'q [Option<KernelRequest>],
    choices: VecDeque<Result<Choice>>,
    fetched: Option<Receiver<Result<LocalKernel>>>,
    /// From the release, and tested, the first one first.
    tested: Vec<LocalKernel>,
    sources: &'q Sources,
    options: Options,
    layout: &'q Layout,
    ui: &'q Ui,
}

impl Queue<'_> {
    /// The next request's kernel, fetched or built if it must be; `None` at the end.
    ///
    /// # Errors
    ///
    /// It cannot be had, and what was done for it.
    #[allow(
        clippy::should_implement_trait,
        reason = "an iterator could not be asked to delete what it gave"
    )]
    pub fn next(&mut self) -> Option<Result<Supplied, (Stage, Error)>> {
        let request = &self.requests[self.requests.len() - self.choices.len()..].first()?;
        let choice = self.choices.pop_front()?;
        let choice = match choice {
            Ok(choice) => choice,
            Err(error) => return Some(Err((Stage::Fetch, error))),
        };
        let stage = match choice {
            Choice::Build(..) => Stage::Build,
            _ => Stage::Fetch,
        };
        let remote = matches!(choice, Choice::Release(_));
        let kernel = match (&self.fetched, remote) {
            (Some(fetched), true) => receive(fetched),
            _ => {
                let client = &self.sources.client;
                fetch::obtain(request.as_ref(), &choice, client, self.layout, self.ui)
            }
        };
        Some(match kernel {
            Ok(kernel) => Ok(Supplied { kernel, remote }),
            Err(error) => Err((stage, error)),
        })
    }

    /// That a kernel was tested, whatever came of it.
    ///
    /// # Errors
    ///
    /// A kernel that is to be deleted cannot be, or a signal.
    pub fn tested(&mut self, supplied: Supplied) -> Result<()> {
        let Some(budget) = self.options.budget.filter(|_| supplied.remote) else {
            return Ok(());
        };
        self.tested.push(supplied.kernel);
        let mut taken = 0;
        for kernel in store::kernels(self.layout, fetch::host_arch()?)? {
            taken += disk_usage(&kernel.path)?;
        }
        let tested = self.tested.iter().map(|kernel| {
            let wanted = self.choices.iter().any(|choice| {
                matches!(choice, Ok(Choice::Release(package)) if package.name.release == kernel.release)
            });
            let bytes = if wanted { Ok(0) } else { disk_usage(&kernel.path) };
            Ok((kernel.path.clone(), bytes?))
        });
        let tested = tested.collect::<Result<Vec<_>>>()?;
        let spare = to_delete(&tested, taken, budget);
        let (gone, kept) = std::mem::take(&mut self.tested)
            .into_iter()
            .partition(|kernel| spare.contains(&kernel.path));
        self.tested = kept;
        for kernel in gone {
            let name = PackageName {
                arch: kernel.arch,
                release: kernel.release,
            };
            local::delete(
                &local::Entry::unpacked(name, kernel.path),
                self.layout,
                self.ui,
            )?;
        }
        Ok(())
    }
}

/// A kernel, and where it came from.
pub struct Supplied {
    /// The kernel.
    pub kernel: LocalKernel,
    /// It is in the release, so that it can be had again.
    pub remote: bool,
}

fn receive(fetched: &Receiver<Result<LocalKernel>>) -> Result<LocalKernel> {
    loop {
        interrupt::check()?;
        match fetched.recv_timeout(interrupt::POLL) {
            Ok(kernel) => return kernel,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(anyhow::anyhow!("the thread that fetches kernels has ended"));
            }
        }
    }
}

/// Of kernels (with their bytes; 0: is needed again) those that must go until what
/// is taken is within the budget, the first ones first.
fn to_delete(tested: &[(PathBuf, u64)], mut taken: u64, budget: u64) -> Vec<PathBuf> {
    let mut spare = Vec::new();
    for (path, bytes) in tested.iter().filter(|(_, bytes)| *bytes > 0) {
        if taken <= budget {
            break;
        }
        taken -= (*bytes).min(taken);
        spare.push(path.clone());
    }
    spare
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_deleted_than_the_budget_asks_for() {
        let tested = [("a", 30), ("needed again", 0), ("b", 20), ("c", 10)]
            .map(|(path, bytes)| (PathBuf::from(path), bytes));
        let delete = |taken, budget| {
            to_delete(&tested, taken, budget)
                .iter()
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        for (taken, budget, expected) in [
            (100, 100, ""),
            (100, 99, "a"),
            (100, 70, "a"),
            (100, 69, "a b"),
            (100, 40, "a b c"),
            (100, 0, "a b c"),
            (10, 0, "a"),
        ] {
            assert_eq!(delete(taken, budget), expected, "{taken} {budget}");
        }
    }
}
