//! Requests and answers, the latter as the documentation shows them.

use super::*;
use crate::net::http::HeaderMap;

fn repository() -> Repository {
    "osandov/drgn".parse().unwrap()
}

/// After the example of "Get a release by tag name".
const RELEASE: &str = r#"{
  "url": "https://api.github.com/repos/octocat/Hello-World/releases/1",
  "html_url": "https://github.com/octocat/Hello-World/releases/v1.0.0",
  "assets_url": "https://api.github.com/repos/octocat/Hello-World/releases/1/assets",
  "upload_url": "https://uploads.github.com/repos/octocat/Hello-World/releases/1/assets{?name,label}",
  "id": 1, "node_id": "MDc6UmVsZWFzZTE=", "tag_name": "v1.0.0", "target_commitish": "master",
  "name": "v1.0.0", "body": "Description of the release", "draft": false, "prerelease": false,
  "immutable": true, "created_at": "2013-02-27T19:35:32Z", "published_at": null,
  "author": {"login": "octocat", "id": 1},
  "assets": [{
    "url": "https://api.github.com/repos/octocat/Hello-World/releases/assets/1",
    "browser_download_url": "https://github.com/octocat/Hello-World/releases/download/v1.0.0/example.zip",
    "id": 1, "node_id": "MDEyOlJlbGVhc2VBc3NldDE=", "name": "example.zip",
    "label": "short description", "state": "uploaded", "content_type": "application/zip",
    "size": 1024,
    "digest": "sha256:2151b604e3429bff440b9fbc03eb3617bc2603cda96c95b9bb05277f9ddba255",
    "download_count": 42, "created_at": "2013-02-27T19:35:32Z",
    "updated_at": "2013-02-27T19:35:32Z", "uploader": {"login": "octocat"}
  }]
}"#;

#[test]
fn repositories_are_read_and_checked() {
    assert_eq!(repository().to_string(), "osandov/drgn");
    for text in ["a-b/c.d_e", "o_corp/.github"] {
        assert_eq!(text.parse::<Repository>().unwrap().to_string(), text);
    }
    for text in [
        "",
        "drgn",
        "/drgn",
        "osandov/",
        "a/b/c",
        "a/..",
        "a/.",
        "a b/c",
        "a/b?c",
        "https://x/y",
    ] {
        assert!(text.parse::<Repository>().is_err(), "{text:?}");
    }
}

#[test]
fn a_release_is_read() {
    let release = serde_json::from_slice::<GithubRelease>(RELEASE.as_bytes()).unwrap();
    assert_eq!((release.id, release.tag.as_str()), (1, "v1.0.0"));
    assert!(release.immutable && !release.draft);
    let asset = &release.assets[0];
    assert_eq!(asset.state, AssetState::Uploaded);
    assert_eq!(
        asset.sha256().unwrap(),
        Some("2151b604e3429bff440b9fbc03eb3617bc2603cda96c95b9bb05277f9ddba255")
    );
    assert_eq!((asset.input_key(), asset.package()), (None, None));
}

#[test]
fn what_may_be_missing_or_new_is_no_error() {
    let asset = serde_json::from_slice::<Asset>(
        br#"{"id": 7, "name": "kernel-6.1.9-vmtest1.1default.x86_64.tar.zst",
             "label": "vmtest-input-key=00ff", "state": "open", "size": 5, "digest": null,
             "url": "u", "browser_download_url": "b", "surprise": [1]}"#,
    )
    .unwrap();
    assert_eq!(asset.state, AssetState::Other);
    assert_eq!(asset.sha256().unwrap(), None);
    assert_eq!(asset.input_key(), Some("00ff"));
    let huge = r#"{"id": 7, "name": "n", "state": "uploaded", "size": 18446744073709551615,
                   "url": "u", "browser_download_url": "b"}"#;
    assert_eq!(
        serde_json::from_slice::<Asset>(huge.as_bytes())
            .unwrap()
            .size,
        1 << 40
    );
    assert_eq!(
        asset.package().unwrap().release.to_string(),
        "6.1.9-vmtest1.1default"
    );
    let digest = |text: &str| {
        let mut asset = asset.clone();
        asset.digest = Some(text.to_owned());
        asset.sha256().unwrap_err().to_string()
    };
    for odd in ["sha512:00", "sha256:xyz", "sha256:", "", &"0".repeat(64)] {
        assert!(digest(odd).contains("which is no SHA-256"), "{odd}");
    }
    assert_eq!(label("ab"), "vmtest-input-key=ab");

    for text in ["", "{", "[]", "<html>", r#"{"id": "1"}"#] {
        assert!(
            serde_json::from_slice::<GithubRelease>(text.as_bytes()).is_err(),
            "{text}"
        );
    }
}

#[test]
fn requests_are_those_of_the_documentation() {
    let repository = repository();
    let paths = [
        release_by_tag(&repository, "vmtest-assets"),
        release_by_tag(&repository, "a/b c"),
        assets(&repository, 17, 3),
        asset(&repository, 5),
    ];
    expect_test::expect![[r#"
        /repos/osandov/drgn/releases/tags/vmtest-assets
        /repos/osandov/drgn/releases/tags/a%2Fb%20c
        /repos/osandov/drgn/releases/17/assets?per_page=100&page=3
        /repos/osandov/drgn/releases/assets/5
    "#]]
    .assert_eq(&(paths.join("\n") + "\n"));
}

#[test]
fn the_upload_template_is_expanded() {
    let template = "https://uploads.github.com/repos/o/n/releases/1/assets{?name,label}";
    let base = "https://uploads.github.com/repos/o/n/releases/1/assets";
    for (name, label, expected) in [
        ("a.tar.zst", None, "?name=a.tar.zst"),
        ("a+b &c", Some("k=1"), "?name=a%2Bb%20%26c&label=k%3D1"),
    ] {
        assert_eq!(
            upload_url(template, name, label),
            format!("{base}{expected}")
        );
    }
    assert_eq!(upload_url(base, "a", None), format!("{base}?name=a"));
}

#[test]
fn refusals_name_their_remedy() {
    let show = |status: u16, body: &str, token: bool| {
        let answer = Answer {
            status,
            headers: HeaderMap::default(),
            body: body.as_bytes().to_vec(),
        };
        failure("upload a", &answer, token).to_string() + "\n"
    };
    let exists = r#"{"message": "Validation Failed", "errors": [
        {"resource": "ReleaseAsset", "code": "already_exists", "field": "name"}]}"#;
    let immutable = r#"{"message": "Cannot upload assets to an immutable release."}"#;
    let text = [
        show(401, r#"{"message": "Bad credentials"}"#, true),
        show(
            403,
            r#"{"message": "Resource not accessible by integration"}"#,
            true,
        ),
        show(404, r#"{"message": "Not Found"}"#, true),
        show(404, r#"{"message": "Not Found"}"#, false),
        show(422, exists, true),
        show(422, immutable, true),
        show(
            422,
            r#"{"message": "x", "errors": ["y", {"code": "custom", "message": "z"}]}"#,
            true,
        ),
        show(502, "<html>", true),
    ];
    expect_test::expect![[r#"
        cannot upload a: HTTP status 401, Bad credentials (the token in GITHUB_TOKEN or GH_TOKEN is wrong or has expired)
        cannot upload a: HTTP status 403, Resource not accessible by integration (the token must have "Contents: write" for this repository; in GitHub Actions: permissions: contents: write)
        cannot upload a: HTTP status 404, Not Found (check --repo and --tag, and that the token may see this repository)
        cannot upload a: HTTP status 404, Not Found (check --repo and --tag; a private repository, and every change, needs a token in GITHUB_TOKEN)
        cannot upload a: HTTP status 422, Validation Failed: already_exists (an asset of that name is there already; --replace)
        cannot upload a: HTTP status 422, Cannot upload assets to an immutable release. (this release is immutable, nothing in it can ever be changed; use another --tag)
        cannot upload a: HTTP status 422, x: z, y, custom
        cannot upload a: HTTP status 502
    "#]]
    .assert_eq(&text.concat());
}
