//! The jobs of a CI's matrix: who tests which kernels.
//!
//! Every job is called with the same requests and `test --partition` of its own, so that
//! the results can be joined: a partition says which of the requests are its own, and
//! a list that differs from job to job could not be compared.

use anyhow::{Context, Result};
use serde::Serialize;

use crate::base::error::Failure;
use crate::model::{arch::Arch, kernel_request::KernelRequest};
use crate::run::schedule::Partition;

/// "A matrix will generate a maximum of 256 jobs per workflow run"
/// (docs.github.com/actions/using-jobs/using-a-matrix-for-your-jobs).
pub const MOST_JOBS: u32 = 256;

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum MatrixFormat {
    /// One line for `fromJSON` in a workflow: {"include": [...]}
    Github,
    /// An array of the jobs
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Job {
    /// Its kernels as `-k` takes them, for the job's name, and to fetch them beforehand.
    pub kernel: String,
    pub arch: &'static str,
    pub partition: String,
    /// About how long it takes beside one kernel of the host's architecture, on KVM; there if
    /// kernels of another one are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<u32>,
}

/// How many times longer than on KVM an emulated x86-64 kernel takes, for an estimate.
const EMULATED: u32 = 8;

/// The jobs for the requests: `partitions` of them, else one for each kernel; no more
/// than there are kernels, because each boots at least one.
///
/// # Errors
///
/// Usage: there is no request (GitHub refuses an empty matrix); more jobs are asked for
/// than a matrix may have; kernels of several architectures would be in one job.
pub fn jobs(
    requests: &[KernelRequest],
    partitions: Option<u32>,
    host: &'static Arch,
) -> Result<Vec<Job>, Failure> {
    let number = u32::try_from(requests.len()).unwrap_or(u32::MAX);
    if number == 0 {
        let failure = Failure::usage("a matrix without kernels would have no jobs");
        return Err(failure.hint("name kernels: -K, or -k 5.10,6.1"));
    }
    if partitions.is_some_and(|partitions| partitions > MOST_JOBS) {
        let failure = Failure::usage(format!("a matrix has at most {MOST_JOBS} jobs"));
        return Err(failure.hint(format!("--partitions {MOST_JOBS}")));
    }
    let of = partitions.unwrap_or(MOST_JOBS).min(number);
    let mut asked = requests.iter().filter_map(|request| request.arch);
    let foreign = asked.any(|arch| arch != host);
    let job = |partition: Partition| {
        let own = partition.select(requests, |request| request.arch);
        let mut arches = own.iter().map(|request| request.arch.unwrap_or(host));
        let arch = arches.next().unwrap_or(host);
        if let Some(other) = arches.find(|other| other.name != arch.name) {
            let message = format!(
                "the job {partition} would have kernels for {} and for {}",
                arch.name, other.name
            );
            let failure = Failure::usage(message);
            return Err(failure.hint("--partitions with at least one for each architecture"));
        }
        let kernels = own.iter().map(ToString::to_string).collect::<Vec<_>>();
        let number = u32::try_from(kernels.len()).unwrap_or(u32::MAX);
        let each = match arch == host {
            true => 1,
            false => EMULATED * arch.emulation_cost,
        };
        Ok(Job {
            kernel: kernels.join(","),
            arch: arch.name,
            partition: partition.to_string(),
            cost: foreign.then(|| number.saturating_mul(each)),
        })
    };
    Partition::all(of).map(job).collect()
}

pub fn render(jobs: &[Job], format: MatrixFormat) -> Result<String> {
    #[derive(Serialize)]
    struct Matrix<'j> {
        include: &'j [Job],
    }
    let text = match format {
        MatrixFormat::Github => serde_json::to_string(&Matrix { include: jobs }),
        MatrixFormat::Json => serde_json::to_string_pretty(jobs),
    };
    Ok(text.context("cannot write the matrix as JSON")? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::arch;

    fn host() -> &'static Arch {
        arch::find("x86_64").unwrap()
    }

    fn requests(list: &str) -> Vec<KernelRequest> {
        KernelRequest::parse_list(list).unwrap()
    }

    #[test]
    fn a_job_for_each_kernel() {
        let jobs = jobs(&requests("5.10.*default,6.1,x86_64:6.12"), None, host()).unwrap();
        expect_test::expect![[r#"
            {"include":[{"kernel":"5.10.*default","arch":"x86_64","partition":"1/3"},{"kernel":"6.1","arch":"x86_64","partition":"2/3"},{"kernel":"x86_64:6.12","arch":"x86_64","partition":"3/3"}]}
        "#]]
        .assert_eq(&render(&jobs, MatrixFormat::Github).unwrap());
        expect_test::expect![[r#"
            [
              {
                "kernel": "5.10.*default",
                "arch": "x86_64",
                "partition": "1/3"
              }
            ]
        "#]]
        .assert_eq(&render(&jobs[..1], MatrixFormat::Json).unwrap());
    }

    #[test]
    fn a_job_has_kernels_of_one_architecture() {
        let list = "6.1,6.6,6.12,6.18,aarch64:6.6,aarch64:6.12,aarch64:6.18,s390x:6.12";
        let show = |partitions| {
            let jobs = jobs(&requests(list), partitions, host()).unwrap();
            let jobs = jobs.iter().map(|job| {
                let cost = job.cost.unwrap();
                format!("{} {} {} {cost}\n", job.partition, job.arch, job.kernel)
            });
            jobs.collect::<String>()
        };
        expect_test::expect![[r#"
            1/3 x86_64 6.1,6.6,6.12,6.18 4
            2/3 aarch64 aarch64:6.6,aarch64:6.12,aarch64:6.18 48
            3/3 s390x s390x:6.12 16
        "#]]
        .assert_eq(&show(Some(3)));
        expect_test::expect![[r#"
            1/5 x86_64 6.1,6.12 2
            2/5 x86_64 6.6,6.18 2
            3/5 aarch64 aarch64:6.6,aarch64:6.18 32
            4/5 aarch64 aarch64:6.12 16
            5/5 s390x s390x:6.12 16
        "#]]
        .assert_eq(&show(Some(5)));
        assert_eq!(show(None).lines().count(), 8);
        let error = jobs(&requests(list), Some(2), host()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the job 1/2 would have kernels for x86_64 and for aarch64 (--partitions with at \
             least one for each architecture)"
        );
    }

    #[test]
    fn the_kernels_of_all_jobs_are_those_that_were_asked_for() {
        let list = (1..=300)
            .map(|minor| format!("6.{minor}"))
            .collect::<Vec<_>>();
        for number in [1, 2, 3, 38, 256, 257, 300] {
            let requests = requests(&list[..number].join(","));
            for partitions in [None, Some(1), Some(2), Some(7), Some(38), Some(256)] {
                let jobs = jobs(&requests, partitions, host()).unwrap();
                let expected = (partitions.unwrap_or(256) as usize).min(number);
                assert_eq!(jobs.len(), expected, "{number} {partitions:?}");
                let mut kernels = Vec::new();
                for (index, job) in jobs.iter().enumerate() {
                    assert_eq!(job.partition, format!("{}/{expected}", index + 1));
                    // What `test --partition` will do with the whole list.
                    let partition = job.partition.parse::<Partition>().unwrap();
                    let own = partition.select(&requests, |request| request.arch);
                    let own = own.iter().map(ToString::to_string).collect::<Vec<_>>();
                    assert_eq!(job.kernel, own.join(","));
                    kernels.extend(own);
                }
                kernels.sort();
                let mut all = list[..number].to_vec();
                all.sort();
                assert_eq!(kernels, all);
            }
        }
    }

    #[test]
    fn what_github_would_refuse_is_refused() {
        let message = |requests: &[KernelRequest], partitions| {
            jobs(requests, partitions, host()).unwrap_err().to_string()
        };
        assert_eq!(
            message(&[], Some(3)),
            "a matrix without kernels would have no jobs (name kernels: -K, or -k 5.10,6.1)"
        );
        assert_eq!(
            message(&requests("6.1"), Some(257)),
            "a matrix has at most 256 jobs (--partitions 256)"
        );
    }
}
