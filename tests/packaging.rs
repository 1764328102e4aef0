//! What a platform team installs: units, a Debian package, examples for containers; and what the
//! processes give up by themselves.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cryptonym::local::processes::{get, pause};

mod support {
    pub mod installation;
}
use support::installation::Installation;

const ROUTE: &str = r#"
[backend.nobody]
urls = ["http://127.0.0.1:1"]
region = "GB"
[policy.p]
rules = [{ at = "$.id", category = "identity", action = "pseudonym", kind = "subscriber" }]
[[route]]
name = "in"
path = "/"
methods = ["POST"]
backend = "nobody"
domain = "improvement"
request = "p"
"#;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Standard output and error of a command that must work.
fn expect(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
    text.into_owned()
}

fn process_status(process: u32, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap_or_else(|| panic!("no {key}")).trim().to_owned()
}

#[test]
fn proxy_10_the_service_manager_is_told_when_it_is_ready_and_when_it_stops() {
    let mut whole = Installation::prepare(ROUTE);
    let path = whole.folder().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let heard = || {
        let mut bytes = [0; 4096];
        let count = manager.recv(&mut bytes).expect("it says nothing");
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    let named = format!("NOTIFY_SOCKET={}", path.display());
    whole.start_vault_under(&["env", &named]);
    assert!(heard().starts_with("READY=1\n"));
    let vault = whole.vault.take().unwrap();
    assert!(vault.stop().unwrap().success());
    assert!(heard().starts_with("STOPPING=1\n"));
    whole.start_vault();

    whole.launch_gateway_under(&["env", &named]);
    assert!(heard().starts_with("READY=1\n"));
    let open = std::net::TcpStream::connect(whole.gateway_address);
    assert!(open.is_ok(), "ready, and does not listen");
    whole.wait_for_gateway();
    let gateway = whole.gateway.take().unwrap();
    assert!(gateway.stop().unwrap().success());
    assert!(heard().starts_with("STOPPING=1\n"));
}

#[test]
fn proxy_10_key_files_can_be_credentials() {
    let whole = Installation::prepare(ROUTE);
    let text = fs::read_to_string(whole.config()).unwrap();
    let with = |name: &str| {
        let text = text.replace("certs/out/gateway.key", name);
        let text = text.replace("certs/out/vault-root.key", "credential:vault-root.key");
        fs::write(whole.config(), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cryptonym"));
        command.arg("check").arg("--config").arg(whole.config());
        command.env_remove("CREDENTIALS_DIRECTORY");
        command
    };
    expect(with("credential:gateway.key").env("CREDENTIALS_DIRECTORY", whole.certs()));
    for (name, folder, said) in [
        (
            "credential:gateway.key",
            None,
            "no credentials were handed to this process",
        ),
        (
            "credential:../gateway.key",
            Some(whole.certs()),
            "this is no name of a credential",
        ),
        ("credential:absent.key", Some(whole.certs()), "absent.key"),
    ] {
        let mut command = with(name);
        command.envs(folder.map(|folder| ("CREDENTIALS_DIRECTORY", folder)));
        let output = command.output().unwrap();
        assert!(!output.status.success());
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(said), "{name}: {text}");
    }
}

#[test]
fn proxy_10_files_elsewhere_and_other_programs_are_out_of_reach() {
    let mut whole = Installation::prepare(ROUTE);
    whole.start_vault();
    whole.start_gateway();
    // A filter, and no new privileges.
    let vault = whole.vault.as_ref().unwrap().id();
    assert_eq!(process_status(vault, "Seccomp:"), "2");
    for process in [vault, whole.gateway.as_ref().unwrap().id()] {
        assert_eq!(process_status(process, "NoNewPrivs:"), "1");
    }
    // A certificate that is put in the place of another is read again; a link that leads out of
    // the directories of the configuration is not followed, even as root.
    let outside = tempfile::tempdir().unwrap();
    let (certificate, key) = (whole.cert("gateway.pem"), whole.cert("gateway.key"));
    let elsewhere = outside.path().join("gateway.key");
    fs::copy(&key, &elsewhere).unwrap();
    fs::remove_file(&key).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &key).unwrap();
    let logged = |what: &str| {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let log = fs::read_to_string(whole.log("gateway")).unwrap();
            if log.contains(what) {
                return;
            }
            assert!(Instant::now() < end, "no {what:?} in {log}");
            pause(Duration::from_millis(50));
        }
    };
    logged("may not be read by this user");
    fs::remove_file(&key).unwrap();
    fs::copy(&elsewhere, &key).unwrap();
    fs::write(&certificate, fs::read(&certificate).unwrap()).unwrap();
    logged("TLS files read again");
    let (status, _) = get(whole.gateway_observe, "/readyz").unwrap();
    assert_eq!(status, 200);
}

#[test]
fn proxy_10_the_units_are_understood_and_leave_little_exposed() {
    let folder = tempfile::tempdir().unwrap();
    for unit in [
        "cryptonym-gateway.service",
        "cryptonym-gateway.socket",
        "cryptonym-vault.service",
    ] {
        let text = fs::read_to_string(here("packaging/systemd").join(unit)).unwrap();
        // The executable of this build, since systemd looks whether it is there.
        let text = text.replace("/usr/bin/cryptonym", env!("CARGO_BIN_EXE_cryptonym"));
        let file = folder.path().join(unit);
        fs::write(&file, &text).unwrap();
    }
    for world in ["gateway", "vault"] {
        let file = folder.path().join(format!("cryptonym-{world}.service"));
        let said = expect(
            Command::new("systemd-analyze")
                .arg("verify")
                .arg("--man=no")
                .arg(&file),
        );
        assert!(!said.contains(&format!("cryptonym-{world}")), "{said}");
        // Out of 100; a unit without any restriction has 96.
        expect(Command::new("systemd-analyze").args([
            "security",
            "--offline=yes",
            "--threshold=20",
            file.to_str().unwrap(),
        ]));
        let text = fs::read_to_string(&file).unwrap();
        for wanted in [
            "LoadCredential=",
            &format!("User=cryptonym-{world}"),
            "Type=notify",
        ] {
            assert!(text.contains(wanted), "{wanted}");
        }
    }
}

/// The text of a block scalar (`name: |`) in a YAML file, without its indentation.
fn block(yaml: &str, name: &str) -> String {
    let head = format!("  {name}: |");
    let lines = yaml.lines().skip_while(|line| *line != head).skip(1);
    let lines = lines.take_while(|line| line.is_empty() || line.starts_with("    "));
    lines
        .map(|line| line.get(4..).unwrap_or_default().to_owned() + "\n")
        .collect()
}

#[test]
fn proxy_10_the_configurations_that_are_shipped_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    let kubernetes = fs::read_to_string(here("packaging/kubernetes/cryptonym.yaml")).unwrap();
    for world in ["gateway", "vault"] {
        let name = format!("{world}.toml");
        let debian = fs::read_to_string(here("packaging/debian").join(&name)).unwrap();
        for text in [debian, block(&kubernetes, &name)] {
            assert!(text.contains(&format!("[{world}]")), "{text}");
            let file = folder.path().join(&name);
            fs::write(&file, text).unwrap();
            let mut command = Command::new(env!("CARGO_BIN_EXE_cryptonym"));
            command.args(["check", "--no-files", "--config"]).arg(&file);
            expect(command.env("CREDENTIALS_DIRECTORY", "/run/credentials/x"));
        }
    }
}

#[test]
fn proxy_10_the_debian_package_is_installed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let package = folder.path().join("cryptonym.deb");
    let cargo_deb = std::env::var("CRYPTONYM_CARGO_DEB").unwrap_or("cargo-deb".to_owned());
    let mut build = Command::new(cargo_deb);
    build
        .args(["--no-build", "--no-strip", "--output"])
        .arg(&package);
    expect(build.current_dir(here("")));
    let said = expect(Command::new("dpkg-deb").arg("--contents").arg(&package));
    for file in [
        "./usr/bin/cryptonym",
        "./etc/cryptonym/gateway.toml",
        "./usr/share/doc/cryptonym/deploy.md",
        "cryptonym-gateway.service",
        "cryptonym-vault.service",
    ] {
        assert!(said.contains(file), "{file}: {said}");
    }
    assert!(!said.contains(".key") && !said.contains(".pem"), "{said}");
    // A system of its own: this one's files below, what is written above, gone at the end.
    let script = format!(
        r#"set -e
mount -t tmpfs none {folder}
mkdir {folder}/upper {folder}/work {folder}/root
mount -t overlay overlay -o lowerdir=/,upperdir={folder}/upper,workdir={folder}/work {folder}/root
cp /proc/self/fd/3 {folder}/root/cryptonym.deb
mount -t proc proc {folder}/root/proc
chroot {folder}/root sh -ec '
    export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
    dpkg --install --force-depends /cryptonym.deb >/dev/null
    cryptonym --version
    getent passwd cryptonym-gateway cryptonym-vault | cut -d: -f1,6,7
    stat -c "%n %a %U" /etc/cryptonym/keys
    CREDENTIALS_DIRECTORY=/x cryptonym --config /etc/cryptonym/gateway.toml check --no-files >/dev/null
    systemctl is-enabled cryptonym-gateway || true
    touch /etc/cryptonym/keys/gateway.key
    install -d -o cryptonym-vault -g cryptonym-vault -m 0700 /var/lib/cryptonym-vault
    touch /var/lib/cryptonym-vault/vault.sqlite
    dpkg --remove cryptonym >/dev/null
    test ! -e /usr/bin/cryptonym && test -e /etc/cryptonym/gateway.toml
    dpkg --purge cryptonym
    test ! -e /etc/cryptonym/gateway.toml && test -e /etc/cryptonym/keys/gateway.key
    ! getent passwd cryptonym-gateway
    # Whoever is made next must not get the number that the database belongs to.
    adduser --quiet --system --no-create-home --home /nonexistent somebody-else
    stat -c "the store is of %U" /var/lib/cryptonym-vault
    getent shadow cryptonym-vault | cut -d: -f1,8
    dpkg --install --force-depends /cryptonym.deb >/dev/null
    getent shadow cryptonym-vault | cut -d: -f1,8
    dpkg --purge cryptonym
    rm -r /var/lib/cryptonym-vault
    dpkg --install --force-depends /cryptonym.deb >/dev/null
    dpkg --purge cryptonym
    ! getent passwd cryptonym-vault
    echo purged
'
"#,
        folder = folder.path().display()
    );
    let mut inside = Command::new("unshare");
    inside.args(["--mount", "--propagation=private", "sh", "-c"]);
    inside.arg(format!("exec 3<{}\n{script}", package.display()));
    let said = expect(&mut inside);
    for line in [
        concat!("cryptonym ", env!("CARGO_PKG_VERSION")),
        "cryptonym-gateway:/nonexistent:/usr/sbin/nologin",
        "cryptonym-vault:/nonexistent:/usr/sbin/nologin",
        "/etc/cryptonym/keys 700 root",
        "disabled",
        "/etc/cryptonym/keys stays",
        "the user cryptonym-vault stays, locked",
        "/var/lib/cryptonym-vault stays",
        "the store is of cryptonym-vault",
        "cryptonym-vault:1\n",
        "cryptonym-vault:\n",
        "purged",
    ] {
        assert!(said.contains(line), "no {line:?} in {said}");
    }
    assert!(
        !Path::new("/usr/bin/cryptonym").exists(),
        "it was installed here"
    );
}
