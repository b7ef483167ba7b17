//! Images: looking, building, pulling, importing, and moving them in and out as streams.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
};

use anyhow::{Context, Result, anyhow};
use bollard::{
    errors::Error,
    models::{BuildInfo, CreateImageInfo},
    query_parameters::{
        BuildImageOptionsBuilder, CreateImageOptionsBuilder, ImportImageOptionsBuilder, ListImagesOptionsBuilder,
        RemoveImageOptionsBuilder, TagImageOptionsBuilder,
    },
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream::BoxStream};

use super::{Docker, PLATFORM_SAVE, absent, label_filter};

/// Shares of processor time: the engine's own default, and what hardly counts beside it.
const ORDINARY: i32 = 1024;
const LEFT_OVER: i32 = 64;
/// Lines of a build's log that its error repeats.
const REPEATED: usize = 15;

/// An image in the engine.
#[derive(Clone, Debug)]
pub struct LocalImage {
    /// Its id (`sha256:…`).
    pub id: String,
    /// Its size in bytes, unpacked, as the engine tells it.
    pub size: u64,
    /// Its names.
    pub repo_tags: Vec<String>,
    /// The digests under which registries gave it (`NAME@sha256:…`).
    pub repo_digests: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// How far a pull is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullProgress {
    /// Bytes of layers that have arrived.
    pub done: u64,
    /// Bytes of all layers, once the engine has told each one's size.
    pub total: Option<u64>,
    /// What the engine is doing, as a sentence fragment.
    pub note: String,
}

/// A build ended in an error; what the engine said and the last lines before that.
#[derive(Clone, Debug)]
pub struct BuildFailed {
    /// The image that was to be built.
    pub tag: String,
    /// The engine's own sentence.
    pub said: String,
    /// The last lines of the log.
    pub log: Vec<String>,
}

impl fmt::Display for BuildFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "building {} failed: {}", self.tag, self.said)?;
        self.log.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

impl std::error::Error for BuildFailed {}

impl Docker {
    /// The image of this name or id, if the engine has it.
    ///
    /// # Errors
    /// The engine does not answer, or the reference is none.
    pub async fn image(&self, reference: &str) -> Result<Option<LocalImage>> {
        let found = match self.api.inspect_image(reference).await {
            Ok(found) => found,
            Err(error) if absent(&error) => return Ok(None),
            Err(error) => {
                return Err(self.failed(&error)).with_context(|| format!("cannot look for image {reference}"));
            }
        };
        Ok(Some(LocalImage {
            id: found.id.unwrap_or_default(),
            size: found.size.unwrap_or_default().try_into().unwrap_or_default(),
            repo_tags: found.repo_tags.unwrap_or_default(),
            repo_digests: found.repo_digests.unwrap_or_default(),
            labels: found.config.and_then(|c| c.labels).unwrap_or_default().into_iter().collect(),
        }))
    }

    /// Images with all of these labels: their ids and names.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn images_labelled(&self, labels: &BTreeMap<String, String>) -> Result<Vec<(String, Vec<String>)>> {
        let options = ListImagesOptionsBuilder::new().filters(&label_filter(labels)).build();
        let found =
            self.api.list_images(Some(options)).await.map_err(|e| self.failed(&e)).context("cannot list images")?;
        let named = |tags: Vec<String>| tags.into_iter().filter(|t| t != "<none>:<none>").collect();
        Ok(found.into_iter().map(|image| (image.id, named(image.repo_tags))).collect())
    }

    /// Builds with the classic builder on the machine's network; `log` hears each line. Ending the future ends the build;
    /// the steps that were finished are kept and found again. `gives_way`: only with the processor time that others leave.
    ///
    /// # Errors
    /// [`BuildFailed`], or the engine does not answer.
    pub async fn build(
        &self,
        context_tar: Bytes,
        tag: &str,
        args: &BTreeMap<String, String>,
        labels: &BTreeMap<String, String>,
        gives_way: bool,
        mut log: impl FnMut(&str) + Send,
    ) -> Result<()> {
        let options = BuildImageOptionsBuilder::new()
            .cpushares(if gives_way { LEFT_OVER } else { ORDINARY })
            .dockerfile("Dockerfile")
            .t(tag)
            .rm(true)
            .forcerm(true)
            .networkmode("host")
            .buildargs(&args.clone().into_iter().collect::<HashMap<String, String>>())
            .labels(&labels.clone().into_iter().collect::<HashMap<String, String>>())
            .build();
        let api = self.long();
        let mut answers = std::pin::pin!(api.build_image(options, None, Some(bollard::body_full(context_tar))));
        let mut last: VecDeque<String> = VecDeque::new();
        let mut rest = String::new();
        while let Some(info) = answers.next().await {
            let said = match info {
                Ok(BuildInfo { error_detail: Some(error), .. }) => error.message.unwrap_or_default(),
                Err(Error::DockerStreamError { error }) => error,
                Err(Error::DockerResponseServerError { message, .. }) => message,
                Err(error) => return Err(self.failed(&error)).with_context(|| format!("cannot build {tag}")),
                Ok(BuildInfo { stream, .. }) => {
                    rest.push_str(&stream.unwrap_or_default());
                    while let Some(end) = rest.find('\n') {
                        let line: String = rest.drain(..=end).collect();
                        let line = line.trim_end();
                        if !line.is_empty() {
                            log(line);
                            last.push_back(line.to_owned());
                            if last.len() > REPEATED {
                                last.pop_front();
                            }
                        }
                    }
                    continue;
                }
            };
            return Err(BuildFailed { tag: tag.to_owned(), said: said.trim().to_owned(), log: last.into() }.into());
        }
        Ok(())
    }

    /// Pulls an image by name, tag or digest, without credentials.
    ///
    /// # Errors
    /// The engine's own words; `parts::images::pull` makes sense of them.
    pub async fn pull(&self, reference: &str, mut progress: impl FnMut(PullProgress) + Send) -> Result<()> {
        // With a tag in `fromImage` and no `tag`, every engine pulls just that one.
        let options = CreateImageOptionsBuilder::new().from_image(reference).build();
        let api = self.long();
        let mut answers = std::pin::pin!(api.create_image(Some(options), None, None));
        let mut layers = Layers::default();
        while let Some(info) = answers.next().await {
            let info = info.map_err(|e| self.failed(&e))?;
            if let Some(now) = layers.hear(info) {
                progress(now);
            }
        }
        Ok(())
    }

    /// Gives an image one more name.
    ///
    /// # Errors
    /// There is no such image.
    pub async fn tag(&self, source: &str, target: &str) -> Result<()> {
        let (repo, tag) = target.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).unwrap_or((target, "latest"));
        let tagged = self.api.tag_image(source, Some(TagImageOptionsBuilder::new().repo(repo).tag(tag).build())).await;
        tagged.map_err(|e| self.failed(&e)).with_context(|| format!("cannot name {source} {target}"))
    }

    /// Takes a name off an image, and the image away with its last name. `false` when there is no such image.
    ///
    /// # Errors
    /// The image is in use, or the engine does not answer.
    pub async fn remove_image(&self, reference: &str) -> Result<bool> {
        match self.api.remove_image(reference, Some(RemoveImageOptionsBuilder::new().build()), None).await {
            Ok(_) => Ok(true),
            Err(error) if absent(&error) => Ok(false),
            Err(error) => Err(self.failed(&error)).with_context(|| format!("cannot remove image {reference}")),
        }
    }

    /// Makes an image of one layer from the tar archive of a root file system (`docker import -`). `changes` are
    /// Dockerfile instructions such as `LABEL a=b`.
    ///
    /// # Errors
    /// The archive is broken off or is none.
    pub async fn import_rootfs(
        &self,
        tar: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
        tag: &str,
        changes: &[String],
    ) -> Result<()> {
        let (repo, tag_only) = tag.rsplit_once(':').unwrap_or((tag, "latest"));
        let options =
            CreateImageOptionsBuilder::new().from_src("-").repo(repo).tag(tag_only).changes(changes.to_vec()).build();
        let answers = self.long().create_image(Some(options), Some(bollard::body_try_stream(tar)), None);
        answers
            .try_for_each(|_| std::future::ready(Ok(())))
            .await
            .map_err(|e| self.failed(&e))
            .with_context(|| format!("cannot import {tag}"))
    }

    /// The images as one archive (`docker save`), of the engine's own platform only: an engine whose images are kept by
    /// containerd otherwise names platforms in the archive that it does not have, and no node can import that.
    pub fn save(&self, references: &[String]) -> BoxStream<'static, Result<Bytes>> {
        let version = self.api.client_version();
        let mut api = self.long();
        if (version.major_version, version.minor_version) >= PLATFORM_SAVE {
            // bollard has no such option yet.
            let platform = format!("&platform=%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22{}%22%7D", self.arch);
            api = api.with_request_modifier(move |mut request| {
                if let Ok(uri) = format!("{}{platform}", request.uri()).parse() {
                    *request.uri_mut() = uri;
                }
                request
            });
        }
        let names: Vec<&str> = references.iter().map(String::as_str).collect();
        let docker = self.clone();
        let answers =
            api.export_images(&names).map_err(move |e| docker.failed(&e).context("cannot read images from Docker"));
        answers.boxed()
    }

    /// Reads an archive that `save` wrote (`docker load`).
    ///
    /// # Errors
    /// The archive is broken off or is none.
    pub async fn load(&self, tar: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static) -> Result<()> {
        let answers = self.long().import_image(
            ImportImageOptionsBuilder::new().quiet(true).build(),
            bollard::body_try_stream(tar),
            None,
        );
        let mut answers = std::pin::pin!(answers);
        while let Some(info) = answers.next().await {
            let info = info.map_err(|e| self.failed(&e)).context("cannot load images into Docker")?;
            if let Some(error) = info.error_detail {
                return Err(anyhow!(error.message.unwrap_or_default())).context("cannot load images into Docker");
            }
        }
        Ok(())
    }
}

/// What a pull has told of its layers.
#[derive(Debug, Default)]
struct Layers {
    /// Bytes that have arrived, and bytes in all.
    known: HashMap<String, (u64, Option<u64>)>,
    unpacked: usize,
}

impl Layers {
    fn hear(&mut self, info: CreateImageInfo) -> Option<PullProgress> {
        let (status, id) = (info.status?, info.id?);
        let detail = info.progress_detail.unwrap_or_default();
        let bytes = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).filter(|&n| n > 0);
        let mut note = None;
        match status.as_str() {
            "Pulling fs layer" | "Waiting" => drop(self.known.entry(id).or_insert((0, None))),
            // Nothing to fetch, nothing to count.
            "Already exists" => drop(self.known.insert(id, (0, Some(0)))),
            "Downloading" => {
                let layer = self.known.entry(id).or_insert((0, None));
                *layer = (bytes(detail.current).unwrap_or(layer.0), bytes(detail.total).or(layer.1));
            }
            "Verifying Checksum" | "Download complete" => {
                let layer = self.known.entry(id).or_insert((0, None));
                *layer = (layer.1.unwrap_or(layer.0), Some(layer.1.unwrap_or(layer.0)));
            }
            "Pull complete" => self.unpacked += 1,
            "Extracting" => {}
            other if other.starts_with("Retrying in") => {
                note = Some(format!("the connection broke; Docker is {}", other.to_lowercase()))
            }
            _ => return None,
        }
        let done = self.known.values().map(|layer| layer.0).sum();
        let total: Option<u64> = self.known.values().map(|layer| layer.1).sum();
        let note = note.unwrap_or_else(|| {
            if total == Some(done) {
                format!("unpacking ({} of {} layers)", self.unpacked, self.known.len())
            } else {
                "pulling".to_owned()
            }
        });
        Some(PullProgress { done, total, note })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(id: &str, status: &str, current: i64, total: i64) -> CreateImageInfo {
        let json =
            serde_json::json!({"id": id, "status": status, "progressDetail": {"current": current, "total": total}});
        serde_json::from_value(json).expect("an info")
    }

    #[test]
    fn bytes_are_summed_over_layers_and_the_total_appears_when_every_layer_is_known() {
        let mut layers = Layers::default();
        layers.hear(info("a", "Pulling fs layer", 0, 0));
        layers.hear(info("b", "Waiting", 0, 0));
        let now = layers.hear(info("a", "Downloading", 5, 10)).expect("progress");
        assert_eq!((now.done, now.total), (5, None));
        let now = layers.hear(info("b", "Already exists", 0, 0)).expect("progress");
        assert_eq!((now.done, now.total), (5, Some(10)));
        let now = layers.hear(info("a", "Retrying in 5 seconds", 0, 0)).expect("progress");
        assert_eq!(now.note, "the connection broke; Docker is retrying in 5 seconds");
        let now = layers.hear(info("a", "Download complete", 0, 0)).expect("progress");
        assert_eq!((now.done, now.total, now.note.as_str()), (10, Some(10), "unpacking (0 of 2 layers)"));
    }
}
