//! What the checks do with the site, through any door: read the front page, log in, publish, upload, and remove it all
//! again. Knows HTTP and WordPress, nothing of Kubernetes; `smoke::frontend` makes checks of it.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, future::BoxFuture, stream};
use reqwest::{
    Method,
    header::{CONTENT_DISPOSITION, CONTENT_TYPE},
};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::actions::smoke::{
    browser::{Browser, Door, Page},
    check::Hopeless,
    marker::Marker,
    picture,
};

/// Requests under way at the same time; more only makes two cores slower.
const AT_ONCE: usize = 2;

/// Every way in: the front door first, then each replica. An error says why the replicas are not all there yet.
pub type Doors<'a> = Box<dyn Fn() -> BoxFuture<'a, Result<Vec<Door>>> + Send + Sync + 'a>;

/// Who may write; told only to the login form.
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: String,
}

/// The site as the checks use it.
pub struct Visit<'a> {
    pub(super) title: String,
    doors: Doors<'a>,
    /// Comes without cookies, as the public does.
    pub(super) visitor: Browser,
    /// Logs in once; the same cookies are then used at every door.
    pub(super) editor: Browser,
    pub(super) marker: Marker,
    post: Mutex<Option<u64>>,
    upload: Mutex<Option<Upload>>,
    draft: Mutex<Option<Draft>>,
}

/// A post that nobody else sees, and what its editor's browser keeps to save it again.
#[derive(Clone)]
struct Draft {
    id: u64,
    nonce: String,
}

#[derive(Clone)]
pub(super) struct Upload {
    pub(super) path: String,
    bytes: Bytes,
}

/// What WordPress calls the kinds of things that the checks make, and how those of them are found that nobody else sees.
const KINDS: [(&str, &str); 3] = [("posts", ""), ("posts", "&status=draft"), ("media", "")];

impl<'a> Visit<'a> {
    /// A visit to the site at this URL.
    ///
    /// # Errors
    /// As [`Browser::new`].
    pub fn new(url: &str, title: &str, marker: &Marker, doors: Doors<'a>) -> Result<Visit<'a>> {
        Ok(Visit {
            title: title.to_owned(),
            doors,
            visitor: Browser::new(url)?,
            editor: Browser::new(url)?,
            marker: marker.clone(),
            post: Mutex::default(),
            upload: Mutex::default(),
            draft: Mutex::default(),
        })
    }

    /// The front page answers 200 with the site's title at every door.
    ///
    /// # Errors
    /// Which door does not show it, and what it answered instead.
    pub async fn front_page(&self) -> Result<String> {
        self.at_every_door(|door| async move {
            let page = self.visitor.get(&door, "/").await?;
            expect_status(&page, 200)?;
            ensure!(shows_title(&page.text(), &self.title), "the page is titled {:?}", title_of(&page.text()));
            Ok(())
        })
        .await
    }

    /// Logs in at the front door, as a browser would: the form first, with its test cookie, then the form's fields.
    ///
    /// # Errors
    /// There is no form, or it did not lead to a session. [`Hopeless`] when WordPress refuses the user or password.
    pub async fn log_in(&self, login: &Login) -> Result<String> {
        let door = self.front_door().await?;
        let form = self.editor.get(&door, "/wp-login.php").await?;
        expect_status(&form, 200)?;
        ensure!(form.text().contains("id=\"loginform\""), "/wp-login.php shows no form to log in");
        let home = self.editor.url("/wp-admin/")?;
        let fields = [
            ("log", login.user.as_str()),
            ("pwd", login.password.as_str()),
            ("wp-submit", "Log In"),
            ("redirect_to", home.as_str()),
            ("testcookie", "1"),
        ];
        let page = self.editor.submit(&door, "/wp-login.php", &fields).await?;
        expect_status(&page, 200)?;
        if page.text().contains("id=\"login_error\"") {
            return Err(
                Hopeless("WordPress refuses the user and password of Secret wordpress-credentials".to_owned()).into()
            );
        }
        let names = self.editor.cookie_names("/wp-admin/")?;
        ensure!(names.iter().any(|n| n.starts_with("wordpress_logged_in_")), "WordPress gave no session cookie");
        Ok(format!("as {}", login.user))
    }

    /// The dashboard is shown at every door to who has logged in at the front door.
    ///
    /// # Errors
    /// Which door does not show it, and what it showed instead.
    pub async fn dashboard(&self) -> Result<String> {
        self.at_every_door(|door| async move {
            let page = self.editor.get(&door, "/wp-admin/").await?;
            expect_status(&page, 200)?;
            ensure!(!page.path().contains("wp-login"), "asks to log in again");
            let text = page.text();
            let dashboard = text.contains("id=\"wpadminbar\"") && text.contains("id=\"dashboard-widgets\"");
            ensure!(dashboard, "{} shows {:?} and no dashboard", page.path(), title_of(&text));
            Ok(())
        })
        .await
    }

    /// A post published at the front door is read by the public at every door.
    ///
    /// # Errors
    /// It could not be published, or which door does not show it.
    pub async fn publish(&self) -> Result<String> {
        let mut made = self.post.lock().await;
        let id = match *made {
            Some(id) => id,
            None => *made.insert(self.create_post().await.context("cannot publish a post")?),
        };
        let (path, wanted) = (format!("/?p={id}"), self.sentence());
        let seen = self.at_every_door(|door| {
            let (path, wanted) = (path.clone(), wanted.clone());
            async move {
                let page = self.visitor.get(&door, &path).await?;
                expect_status(&page, 200)?;
                ensure!(page.text().contains(&wanted), "post {id} is there without its text");
                Ok(())
            }
        });
        Ok(format!("post {id}, {}", seen.await?))
    }

    /// An image uploaded at the front door comes back byte for byte from every door.
    ///
    /// # Errors
    /// It could not be uploaded, or which door gives something else.
    pub async fn upload(&self) -> Result<String> {
        let mut made = self.upload.lock().await;
        let upload = match &*made {
            Some(upload) => upload.clone(),
            None => made
                .insert(self.create_upload(picture::gif(self.marker.as_str())).await.context("cannot upload an image")?)
                .clone(),
        };
        let seen = self.at_every_door(|door| {
            let upload = upload.clone();
            async move {
                let page = self.visitor.get(&door, &upload.path).await?;
                expect_status(&page, 200)?;
                let (got, sent) = (page.body.len(), upload.bytes.len());
                ensure!(page.body == upload.bytes, "{} has {got} bytes that are not the {sent} sent", upload.path);
                Ok(())
            }
        });
        let size = upload.bytes.len();
        Ok(format!("{size} bytes, {}", seen.await?))
    }

    /// Saves a text as the draft of this visit and reads it back.
    ///
    /// # Errors
    /// It cannot be saved or read, or something else is read.
    pub async fn draft(&self, text: &str) -> Result<()> {
        let door = self.front_door().await?;
        // After a failure there is a new one: what was given up may still be saved, over what comes later.
        let kept = self.draft.lock().await.take();
        let (nonce, route) = match &kept {
            Some(draft) => (draft.nonce.clone(), format!("posts/{}", draft.id)),
            None => (self.nonce(&door).await?, "posts".to_owned()),
        };
        let name = self.marker.as_str();
        let content = format!("{name}: {text}");
        let post = json!({ "title": name, "slug": name, "content": content, "status": "draft" });
        let saved = self.rest(&door, &nonce, Method::POST, &route, Some(post)).await?;
        let id = saved["id"].as_u64().context("WordPress tells no number for the draft")?;
        let read = self.rest(&door, &nonce, Method::GET, &format!("posts/{id}?context=edit"), None).await?;
        ensure!(read["content"]["raw"] == content.as_str(), "the draft is not what was saved");
        *self.draft.lock().await = Some(Draft { id, nonce });
        Ok(())
    }

    /// Removes what this run made and what long dead runs left, and logs out. Nothing to do where nobody has logged in.
    ///
    /// # Errors
    /// What could not be removed, and why.
    pub async fn clean_up(&self) -> Result<usize> {
        let names = self.editor.cookie_names("/wp-admin/")?;
        if !names.iter().any(|n| n.starts_with("wordpress_logged_in_")) {
            return Ok(0);
        }
        let door = self.front_door().await?;
        let nonce = self.nonce(&door).await?;
        let mut removed = 0;
        for (kind, of) in KINDS {
            for id in self
                .left_behind(&door, &nonce, kind, of)
                .await
                .with_context(|| format!("cannot look for {kind} left behind"))?
            {
                let gone = self.rest(&door, &nonce, Method::DELETE, &format!("{kind}/{id}&force=true"), None).await;
                gone.with_context(|| format!("cannot remove {kind} {id}"))?;
                removed += 1;
            }
        }
        self.log_out(&door).await.context("cannot log out")?;
        Ok(removed)
    }

    pub(super) async fn create_post(&self) -> Result<u64> {
        let door = self.front_door().await?;
        let nonce = self.nonce(&door).await?;
        let name = self.marker.as_str();
        let post = json!({ "title": name, "slug": name, "content": self.sentence(), "status": "publish", "ping_status": "closed" });
        let made = self.rest(&door, &nonce, Method::POST, "posts", Some(post)).await?;
        made["id"].as_u64().context("WordPress tells no number for the post")
    }

    pub(super) async fn create_upload(&self, image: Vec<u8>) -> Result<Upload> {
        let door = self.front_door().await?;
        let nonce = self.nonce(&door).await?;
        let bytes = Bytes::from(image);
        let name = format!("attachment; filename=\"{}.gif\"", self.marker.as_str());
        let body = bytes.clone();
        let path = rest_path("media");
        let page = self.editor.send(&door, Method::POST, &path, |request| {
            let request =
                request.header("X-WP-Nonce", nonce).header(CONTENT_TYPE, "image/gif").header(CONTENT_DISPOSITION, name);
            request.body(body)
        });
        let made = understood(&page.await?)?;
        let address = made["source_url"].as_str().context("WordPress tells no address for the image")?;
        let path = self.editor.url(address)?.path().to_owned();
        Ok(Upload { path, bytes })
    }

    fn sentence(&self) -> String {
        format!("Published by the smoke checks of the lab: {}.", self.marker.as_str())
    }

    /// Things of ours that may be removed.
    async fn left_behind(&self, door: &Door, nonce: &str, kind: &str, of: &str) -> Result<Vec<u64>> {
        let search = format!("{kind}&search={}&per_page=100&_fields=id,slug{of}", Marker::common());
        let found = self.rest(door, nonce, Method::GET, &search, None).await?;
        let items = found.as_array().context("WordPress answers with no list")?;
        let ours = items.iter().filter(|item| item["slug"].as_str().is_some_and(|slug| self.marker.may_remove(slug)));
        Ok(ours.filter_map(|item| item["id"].as_u64()).collect())
    }

    async fn log_out(&self, door: &Door) -> Result<()> {
        let page = self.editor.get(door, "/wp-admin/").await?;
        let text = page.text().replace("&amp;", "&").replace("&#038;", "&");
        let from = text.find("wp-login.php?action=logout").context("the dashboard has no link to log out")?;
        let link: String = text[from..].chars().take_while(|c| !"\"'".contains(*c)).collect();
        self.editor.get(door, &format!("/{link}")).await.map(drop)
    }

    /// What the REST interface wants beside the cookies, so that no other site can use them.
    async fn nonce(&self, door: &Door) -> Result<String> {
        let page = self.editor.get(door, "/wp-admin/admin-ajax.php?action=rest-nonce").await?;
        let nonce = page.text().trim().to_owned();
        let sound =
            page.status == 200 && (6..=40).contains(&nonce.len()) && nonce.chars().all(|c| c.is_ascii_alphanumeric());
        ensure!(sound, "WordPress gives no nonce ({})", page.status);
        Ok(nonce)
    }

    async fn rest(&self, door: &Door, nonce: &str, method: Method, route: &str, body: Option<Value>) -> Result<Value> {
        let path = rest_path(route);
        let page = self.editor.send(door, method, &path, |request| {
            let request = request.header("X-WP-Nonce", nonce);
            if let Some(body) = body { request.json(&body) } else { request }
        });
        understood(&page.await?)
    }

    pub(super) async fn front_door(&self) -> Result<Door> {
        (self.doors)().await?.into_iter().next().context("there is no way in")
    }

    /// Asks at every door; returns in a few words where it was seen.
    pub(super) async fn at_every_door<F>(&self, ask: impl Fn(Door) -> F) -> Result<String>
    where
        F: Future<Output = Result<()>>,
    {
        let doors = (self.doors)().await?;
        let count = doors.len();
        let answers = doors.into_iter().map(|door| {
            let (name, answer) = (door.name.clone(), ask(door));
            async move { answer.await.with_context(|| format!("at {name}")) }
        });
        stream::iter(answers).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        match count {
            0 => bail!("there is no way in"),
            1 => Ok("at the front door".to_owned()),
            2 => Ok("at the front door and 1 replica".to_owned()),
            _ => Ok(format!("at the front door and {} replicas", count - 1)),
        }
    }
}

/// Works with plain and with pretty permalinks.
pub(super) fn rest_path(route: &str) -> String {
    format!("/index.php?rest_route=/wp/v2/{}", route.replacen('?', "&", 1))
}

pub(super) fn understood(page: &Page) -> Result<Value> {
    let answer: Value = serde_json::from_slice(&page.body).unwrap_or_default();
    if (200..300).contains(&page.status) && !answer.is_null() {
        return Ok(answer);
    }
    let message = answer["message"].as_str().map_or_else(|| title_of(&page.text()), ToOwned::to_owned);
    bail!("WordPress answers {}: {message}", page.status)
}

pub(super) fn expect_status(page: &Page, wanted: u16) -> Result<()> {
    ensure!(page.status == wanted, "{} answers {} ({:?})", page.path(), page.status, title_of(&page.text()));
    Ok(())
}

fn title_of(html: &str) -> String {
    let inside = html.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>")).map(|(title, _)| title);
    inside.unwrap_or_default().trim().to_owned()
}

/// Whether a page carries a title. WordPress escapes it and makes its quotes and dashes pretty, so only letters and digits count.
pub(in crate::actions) fn shows_title(html: &str, title: &str) -> bool {
    let bare = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    bare(&without_entities(&title_of(html))).contains(&bare(title))
}

fn without_entities(text: &str) -> String {
    let mut inside = false;
    let plain = text.chars().filter(|c| {
        let entity = inside || *c == '&';
        inside = entity && *c != ';';
        !entity
    });
    plain.collect()
}

#[cfg(test)]
#[path = "site_tests.rs"]
mod tests;
