//! The link to the database is encrypted, to the server that it is meant for or not at all.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use token_registry::import::Options;
use token_registry::store;
use tokio::task::block_in_place;

use crate::import::django::{Django, SAMPLE, import};
use crate::support::postgres::{Cluster, Database};
use crate::support::{Registry, config_for};

/// An authority that signs certificates of servers.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// Gives a server a certificate for this name, and has it encrypt.
    fn certify(&self, cluster: &Cluster, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let owner = cluster.directory().metadata().unwrap();
        for (file, text) in [("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem())] {
            let path = cluster.directory().join(file);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
        let directory = cluster.directory().display();
        cluster.execute(&[
            &format!("alter system set ssl_cert_file = '{directory}/tls.crt'"),
            &format!("alter system set ssl_key_file = '{directory}/tls.key'"),
            "alter system set ssl = on",
        ]);
        cluster.restart();
    }
}

/// The URL with encryption demanded, and this authority believed.
fn encrypted(cluster: &Cluster, database: &Database, authority: &Authority) -> String {
    let file = cluster.directory().join("authority.pem");
    fs::write(&file, &authority.certificate).unwrap();
    format!("{}?sslmode=verify-full&sslrootcert={}", database.url, file.display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_connection_is_encrypted_to_a_server_that_is_known() {
    let authority = Authority::new();
    let cluster = Cluster::start(&[]);
    block_in_place(|| authority.certify(&cluster, "127.0.0.1"));
    let database = block_in_place(|| cluster.create_database());
    let registry = Registry::on(&encrypted(&cluster, &database, &authority), |_| {}).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    registry.rotate("ada", "laptop", "one", "two").await.unwrap();
    let sql = crate::support::connect(&database.url).await;
    let used = "select count(*) filter (where ssl), count(*) from pg_stat_ssl join pg_stat_activity using (pid) \
                where application_name = 'token-registry'";
    let used = sql.query_one(used, &[]).await.unwrap();
    let (encrypted, all): (i64, i64) = (used.get(0), used.get(1));
    assert!(all > 0 && encrypted == all, "{encrypted} of {all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_the_one_meant_is_not_talked_to() {
    let (authority, another) = (Authority::new(), Authority::new());
    let cluster = Cluster::start(&[]);
    let database = block_in_place(|| cluster.create_database());
    let refusal = async |authority: &Authority| {
        let url = encrypted(&cluster, &database, authority);
        store::migrate(&config_for(&url)).await.unwrap_err().to_string()
    };
    let plain = refusal(&authority).await;
    assert!(plain.contains("server does not support TLS"), "{plain}");
    block_in_place(|| authority.certify(&cluster, "db.example.com"));
    let named = refusal(&authority).await;
    assert!(named.contains("certificate"), "{named}");
    block_in_place(|| authority.certify(&cluster, "127.0.0.1"));
    let unknown = refusal(&another).await;
    assert!(unknown.contains("invalid peer certificate"), "{unknown}");
    store::migrate(&config_for(&encrypted(&cluster, &database, &authority))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_reads_over_an_encrypted_link_to_the_server_that_is_meant() {
    let (authority, another) = (Authority::new(), Authority::new());
    let cluster = Cluster::start(&[]);
    block_in_place(|| authority.certify(&cluster, "127.0.0.1"));
    let database = block_in_place(|| cluster.create_database());
    let sql = crate::support::connect(&database.url).await;
    let django = Django { database, sql };
    django.run(SAMPLE).await;
    // Nobody gets in without: the import can't be reading over a plain link.
    let hba: String = django.sql.query_one("show hba_file", &[]).await.unwrap().get(0);
    let rules = fs::read_to_string(&hba).unwrap();
    fs::write(&hba, rules.replace("host ", "hostssl ")).unwrap();
    cluster.execute(&["select pg_reload_conf()"]);
    let registry = Registry::start().await;
    let imported =
        async |from: String| import(&registry, &Options { from: from.into(), ..django.options() }).await;
    let stranger = imported(encrypted(&cluster, &django.database, &another)).await.unwrap_err().to_string();
    assert!(stranger.contains("invalid peer certificate"), "{stranger}");
    let nowhere = format!("{}?sslmode=verify-full&sslrootcert=/nowhere/ca.pem", django.database.url);
    let nowhere = imported(nowhere).await.unwrap_err().to_string();
    assert!(nowhere.contains("--from") && nowhere.contains("/nowhere/ca.pem"), "{nowhere}");
    let report = imported(encrypted(&cluster, &django.database, &authority)).await.unwrap();
    assert_eq!((report.users.new, report.sessions.new), (12, 30));
}

#[tokio::test]
async fn a_file_without_certificates_is_refused_at_the_start() {
    for file in ["/nowhere/ca.pem", "/dev/null"] {
        let url = format!("postgres://127.0.0.1/x?sslmode=verify-full&sslrootcert={file}");
        let error = store::migrate(&config_for(&url)).await.unwrap_err();
        assert!(!error.is_passing() && error.to_string().contains(file), "{error}");
    }
}
