//! What readers and an editor can ask a site for: what it has, and what it lacks is made. Neighbour of [`super::site`], whose
//! visits do it, and remove what they made.

use anyhow::{Context, Result, ensure};
use reqwest::{Method, Url, header::HeaderValue};

use super::{
    browser::Door,
    picture,
    site::{Visit, rest_path, understood},
};

/// How often a visit's name is in its larger picture, which makes that about as large as a photograph in a page.
const AS_LARGE: usize = 2500;
/// As many of a kind as are asked for in turn.
const SOME: &str = "10";

/// Addresses on a site, each from its first slash on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    /// Posts that everybody may read.
    pub posts: Vec<String>,
    /// Pages that everybody may read.
    pub pages: Vec<String>,
    /// Uploaded images.
    pub images: Vec<String>,
    /// Where a post is edited.
    pub edit: String,
}

impl Visit<'_> {
    /// What the site has for readers. A post and an image are made in any case: the post can be edited, and a new site has no
    /// image. Whoever visits has logged in.
    ///
    /// # Errors
    /// The site does not answer, or not as WordPress does.
    pub async fn stock(&self) -> Result<Stock> {
        let post = self.create_post().await.context("cannot publish a post")?;
        let image = picture::gif(&self.marker.as_str().repeat(AS_LARGE));
        let image = self.create_upload(image).await.context("cannot upload an image")?;
        let door = self.front_door().await?;
        let (posts, pages) = (self.links(&door, "posts", "link").await?, self.links(&door, "pages", "link").await?);
        let mut images = self.links(&door, "media", "source_url&media_type=image").await?;
        if !images.contains(&image.path) {
            images.push(image.path);
        }
        ensure!(!posts.is_empty(), "the site shows no post, not even the one just published");
        Ok(Stock { posts, pages, images, edit: format!("/wp-admin/post.php?post={post}&action=edit") })
    }

    /// What whoever has logged in shows to be known again.
    ///
    /// # Errors
    /// Nobody has logged in.
    pub fn session(&self) -> Result<HeaderValue> {
        self.editor.cookies("/wp-admin/")?.context("nobody has logged in")
    }

    /// Where the newest things of a kind are, as the public is told.
    async fn links(&self, door: &Door, kind: &str, field: &str) -> Result<Vec<String>> {
        let path = rest_path(&format!("{kind}?per_page={SOME}&_fields={field}"));
        let page = self.visitor.send(door, Method::GET, &path, |request| request).await?;
        let found = understood(&page).with_context(|| format!("cannot list the site's {kind}"))?;
        let site = self.visitor.url("/")?;
        let field = field.split('&').next().unwrap_or_default();
        let links = found.as_array().into_iter().flatten().filter_map(|one| one[field].as_str());
        Ok(links.filter_map(|link| on_site(&site, link)).collect())
    }
}

/// An address without scheme and host; `None` for one of another site.
fn on_site(site: &Url, link: &str) -> Option<String> {
    let link = site.join(link).ok().filter(|link| link.origin() == site.origin())?;
    Some(link.query().map_or_else(|| link.path().to_owned(), |query| format!("{}?{query}", link.path())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_other_sites_are_left_out() {
        let site = Url::parse("http://127.0.0.1:8080/").expect("a URL");
        let on = |link: &str| on_site(&site, link);
        assert_eq!(on("http://127.0.0.1:8080/2026/01/31/hello/").as_deref(), Some("/2026/01/31/hello/"));
        assert_eq!(on("http://127.0.0.1:8080/?p=7").as_deref(), Some("/?p=7"));
        assert_eq!(on("http://127.0.0.1:8081/a.gif"), None);
        assert_eq!(on("https://example.org/"), None);
    }
}
