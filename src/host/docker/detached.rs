//! Throw-away containers that go on running side by side, on a network that nothing leads out of. What is left of them when
//! their maker is ended in the middle is what [`Docker::remove_left_behind`] removes.

use anyhow::{Context, Result};
use bollard::{
    models::NetworkCreateRequest,
    query_parameters::{StopContainerOptionsBuilder, UploadToContainerOptionsBuilder},
};
use bytes::Bytes;

use super::{Docker, Sandbox, throwaway::throwaway};

impl Docker {
    /// A throw-away network of this name, with no way out of it and none in.
    ///
    /// # Errors
    /// The engine cannot make it.
    pub async fn closed_network(&self, name: &str) -> Result<()> {
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            internal: Some(true),
            labels: Some(throwaway()),
            ..Default::default()
        };
        let made = self.api.create_network(request).await.map_err(|e| self.failed(&e));
        made.map(drop).with_context(|| format!("cannot make the Docker network {name}"))
    }

    /// A container of this name that is not started yet.
    ///
    /// # Errors
    /// The engine refuses, in its own words.
    pub async fn prepare(&self, name: &str, sandbox: &Sandbox) -> Result<()> {
        let made = self.create_named(Some(name), sandbox.body()?).await;
        made.map(drop).with_context(|| format!("cannot make container {name} of image {}", sandbox.image))
    }

    /// Unpacks an archive into a volume of a container, whether it runs or not.
    ///
    /// # Errors
    /// There is no such folder that can be written to.
    pub async fn unpack(&self, container: &str, folder: &str, archive: Vec<u8>) -> Result<()> {
        let options = UploadToContainerOptionsBuilder::new().path(folder).build();
        let body = bollard::body_full(Bytes::from(archive));
        let put = self.api.upload_to_container(container, Some(options), body).await.map_err(|e| self.failed(&e));
        put.with_context(|| format!("cannot put files into {folder} of container {container}"))
    }

    /// Asks a container's program to end, waits for that, and ends it after so many seconds. Returns its exit code.
    ///
    /// # Errors
    /// There is no such container, or the engine does not answer.
    pub async fn stop(&self, container: &str, grace: i32) -> Result<i64> {
        let options = StopContainerOptionsBuilder::new().t(grace).build();
        let stopped = self.long().stop_container(container, Some(options)).await.map_err(|e| self.failed(&e));
        stopped.with_context(|| format!("cannot stop container {container}"))?;
        let code = self.ended(container).await?;
        code.with_context(|| format!("container {container} still runs after it was stopped"))
    }

    /// The exit code of a container's program, once it has ended.
    ///
    /// # Errors
    /// There is no such container, or the engine does not answer.
    pub async fn ended(&self, container: &str) -> Result<Option<i64>> {
        let found = self.api.inspect_container(container, None).await.map_err(|e| self.failed(&e));
        let state = found.with_context(|| format!("cannot look at container {container}"))?.state.unwrap_or_default();
        let runs = state.running.unwrap_or_default();
        Ok((!runs).then(|| state.exit_code.unwrap_or_default()))
    }
}
