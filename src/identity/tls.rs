//! Mutual TLS made of our SVID and the trust bundles.
//!
//! TLS 1.3 alone, certificates from both sides, X25519MLKEM768 offered first. No tickets, no resumption, no 0-RTT: every
//! connection is verified anew, so that a revocation or a new bundle binds it, and nothing can be replayed. ALPN speaks
//! h2 and http/1.1.

use super::leaf::Leaf;
use super::peer::Peer;
use super::spiffe::PeerId;
use super::svid::Svid;
use super::trust::{Role, TrustBundles};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    ServerConnection, SignatureScheme,
};
use std::sync::Arc;
use std::time::SystemTime;

/// The side that is called: hands out configurations and reads the caller of a finished handshake.
///
/// Both come from the same bundles, so that an identity is never judged by others than those that verified it.
#[derive(Debug, Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    bundles: Arc<TrustBundles>,
}

/// The side that calls one peer.
#[derive(Debug, Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    bundles: Arc<TrustBundles>,
}

impl ServerTls {
    /// The server's side for this SVID and these bundles.
    ///
    /// # Errors
    /// Never with the provider that is compiled in; rustls wants it said.
    pub fn new(svid: &Svid, bundles: Arc<TrustBundles>) -> Result<Self, Error> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(Verifier { bundles: bundles.clone(), expected: None }))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(svid.certified())));
        config.alpn_protocols = alpn();
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { config: Arc::new(config), bundles })
    }

    /// What an acceptor needs.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// The caller of a connection whose handshake under [`config`](Self::config) is done; `None` before.
    #[must_use]
    pub fn peer(&self, connection: &ServerConnection) -> Option<Peer> {
        (!connection.is_handshaking()).then_some(())?;
        Peer::of_verified(connection.peer_certificates()?.first()?, &self.bundles)
    }

    /// The bundles that verify callers.
    #[must_use]
    pub fn bundles(&self) -> &Arc<TrustBundles> {
        &self.bundles
    }
}

impl ClientTls {
    /// The client's side for this SVID and these bundles; the other side has to be `expected`, whatever its name is.
    ///
    /// # Errors
    /// Never with the provider that is compiled in; rustls wants it said.
    pub fn new(svid: &Svid, bundles: Arc<TrustBundles>, expected: PeerId) -> Result<Self, Error> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { bundles: bundles.clone(), expected: Some(expected) }))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(svid.certified())));
        config.alpn_protocols = alpn();
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), bundles })
    }

    /// What a connector needs.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// Who answered, once the handshake under [`config`](Self::config) is done; `None` before.
    #[must_use]
    pub fn peer(&self, connection: &ClientConnection) -> Option<Peer> {
        (!connection.is_handshaking()).then_some(())?;
        Peer::of_verified(connection.peer_certificates()?.first()?, &self.bundles)
    }
}

/// Judges the other side's chain, and of a server also who it is.
#[derive(Debug)]
struct Verifier {
    bundles: Arc<TrustBundles>,
    expected: Option<PeerId>,
}

impl Verifier {
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<(), Error> {
        let chain: Vec<_> = std::iter::once(leaf).chain(intermediates).cloned().collect();
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(now.as_secs());
        Ok(self.bundles.verify(&chain, role, now)?)
    }

    fn signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, self.bundles.algorithms())
    }
}

impl ClientCertVerifier for Verifier {
    /// None: a caller chooses its certificate without our hints, and strangers learn no names of CAs.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(leaf, intermediates, Role::Client, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(rustls::PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.bundles.algorithms().supported_schemes()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(leaf, intermediates, Role::Server, now)?;
        let id = Leaf::parse(leaf).and_then(|leaf| leaf.id.ok());
        // An unknown domain is verified by all bundles together, which would let one domain speak for another.
        let own_bundle = id.as_ref().is_some_and(|id| self.bundles.verifies(leaf, id));
        match own_bundle && id == self.expected {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::NotValidForName.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(rustls::PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.bundles.algorithms().supported_schemes()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn alpn() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec(), b"http/1.1".to_vec()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::dev::DevCa;
    use crate::identity::dev::tests::{authority, ca, crl, leaf_params};
    use crate::identity::spiffe::{SpiffeId, TrustDomain};
    use crate::identity::{HandshakeFault, TlsParameters};
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair,
        KeyUsagePurpose, NameConstraints, SanType, date_time_ymd,
    };
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;
    use rustls::sign::CertifiedKey;
    use std::str::FromStr;
    use std::time::Duration;

    const ORDERS: &str = "spiffe://cluster.local/ns/shop/sa/orders";
    const CHECKOUT: &str = "spiffe://cluster.local/ns/shop/sa/checkout";
    const LINKERD: &str = "etl.data.serviceaccount.identity.linkerd.cluster.local";

    /// Two trust domains, each with its CA, and a server of the first.
    struct World {
        ca: DevCa,
        other: DevCa,
        orders: Svid,
    }

    impl World {
        fn new() -> Self {
            let (ca, other) = (ca("cluster.local"), ca("other.example"));
            let orders = svid(&ca, ORDERS);
            Self { ca, other, orders }
        }

        fn bundles(&self, crls: &[&str]) -> Arc<TrustBundles> {
            let domain = |name| TrustDomain::from_str(name).unwrap();
            let bundles = [
                (domain("cluster.local"), self.ca.certificate_pem.as_str()),
                (domain("other.example"), self.other.certificate_pem.as_str()),
            ];
            Arc::new(TrustBundles::from_pem(&bundles, crls).unwrap())
        }

        /// Who a caller with this chain is, or why it is refused.
        fn call(&self, chain: &str, key: &KeyPair, crls: &[&str]) -> String {
            let server = ServerTls::new(&self.orders, self.bundles(crls)).unwrap();
            match handshake(server.config(), raw_client(chain, key, self.bundles(&[]))) {
                Ok((connection, _)) => match server.peer(&connection).unwrap().id {
                    Ok(id) => id.to_string(),
                    Err(reason) => reason.code().to_owned(),
                },
                Err(error) => HandshakeFault::of(&error).code().to_owned(),
            }
        }

        fn check(&self, case: &str, params: &CertificateParams, wanted: &str) {
            let key = KeyPair::generate().unwrap();
            let leaf = self.ca.sign(params, &key).unwrap();
            assert_eq!(self.call(&leaf, &key, &[]), wanted, "{case}");
        }
    }

    fn svid(ca: &DevCa, id: &str) -> Svid {
        let issued = ca.issue(&SpiffeId::from_str(id).unwrap(), &[], Duration::from_secs(3600)).unwrap();
        Svid::from_pem(issued.certificate_pem.as_bytes(), issued.key_pem.as_bytes()).unwrap()
    }

    /// A client that presents whatever it is told to.
    fn raw_client(chain: &str, key: &KeyPair, bundles: Arc<TrustBundles>) -> ClientConfig {
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let key = CertifiedKey::new(chain, provider().key_provider.load_private_key(key).unwrap());
        let expected = Some(PeerId::Spiffe(SpiffeId::from_str(ORDERS).unwrap()));
        ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { bundles, expected }))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
    }

    /// Both sides of a handshake in memory, or the error of the side that gave up first.
    fn handshake(
        server: Arc<ServerConfig>,
        client: impl Into<Arc<ClientConfig>>,
    ) -> Result<(ServerConnection, ClientConnection), Error> {
        let mut server = ServerConnection::new(server).unwrap();
        let mut client = ClientConnection::new(client.into(), "localhost".try_into().unwrap()).unwrap();
        for _ in 0..8 {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                server.read_tls(&mut rest).unwrap();
                server.process_new_packets()?;
            }
            let mut bytes = Vec::new();
            server.write_tls(&mut bytes).unwrap();
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets()?;
            }
        }
        Ok((server, client))
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn dns(text: &str) -> SanType {
        SanType::DnsName(text.try_into().unwrap())
    }

    #[test]
    fn one_spiffe_id_or_none() {
        let world = World::new();
        let check = |case: &str, sans: Vec<SanType>, wanted: &str| world.check(case, &leaf_params(sans), wanted);
        check("one", vec![uri(CHECKOUT)], CHECKOUT);
        check("DNS SANs beside are ignored", vec![dns("localhost"), uri(CHECKOUT), dns(LINKERD)], CHECKOUT);
        check("Linkerd's name", vec![dns(LINKERD)], LINKERD);
        check("another DNS name", vec![dns("localhost")], "identity_missing");
        check("Linkerd's name and another", vec![dns(LINKERD), dns("localhost")], "identity_invalid");
        check("two DNS names", vec![dns("a.example"), dns("b.example")], "identity_missing");
        check("an address", vec![SanType::IpAddress([127, 0, 0, 1].into())], "identity_missing");
        check("none", vec![], "identity_missing");
        check("two", vec![uri(CHECKOUT), uri(ORDERS)], "identity_invalid");
        check("twice the same", vec![uri(CHECKOUT), uri(CHECKOUT)], "identity_invalid");
        check("https beside", vec![uri("https://x.example/"), uri(CHECKOUT)], "identity_invalid");
        check("https alone", vec![uri("https://x.example/")], "identity_invalid");
        check("https with Linkerd's name", vec![uri("https://x.example/"), dns(LINKERD)], "identity_invalid");
        check("a domain without bundle", vec![uri("spiffe://nowhere.example/a")], "identity_invalid");
        check("another domain's", vec![uri("spiffe://other.example/a")], "issuer_unknown");
        for odd in [
            "spiffe://cluster.local.evil/ns/shop/sa/checkout",
            "spiffe://cluster.local/ns/shop/sa/checkout/",
            "spiffe://cluster.local//ns/shop/sa/checkout",
            "spiffe://cluster.local/ns/../sa/checkout",
            "spiffe://cluster.local/ns/./sa/checkout",
            "spiffe://cluster.local/ns/shop/sa/check%6fut",
            "SPIFFE://cluster.local/ns/shop/sa/checkout#",
            "spiffe://Cluster.Local/ns/shop/sa/checkout",
            "spiffe://cluster.local/ns/shop/sa/checkout?a",
            "spiffe://cluster.local:443/ns/shop/sa/checkout",
            "spiffe://user@cluster.local/ns/shop/sa/checkout",
            "spiffe://cluster.local/ns/*/sa/checkout",
            "spiffe://*/ns/shop/sa/checkout",
            "spiffe://cluster.local/ns/shop/sa/checkout\0",
            "spiffe://cluster.local/ns/shop/sa/checkout\n",
            "spiffe://cluster.local\0.evil/ns/shop/sa/checkout",
            "spiffe://cluster.local",
            "",
        ] {
            check(odd, vec![uri(odd)], "identity_invalid");
        }
    }

    #[test]
    fn a_leaf_is_a_leaf_and_in_force() {
        let world = World::new();
        let check = |case: &str, change: &dyn Fn(&mut CertificateParams), wanted: &str| {
            let mut params = leaf_params(vec![uri(CHECKOUT)]);
            change(&mut params);
            world.check(case, &params, wanted);
        };
        check("expired", &|leaf| leaf.not_after = date_time_ymd(2020, 1, 1), "certificate_expired");
        check("future", &|leaf| leaf.not_before = date_time_ymd(2200, 1, 1), "certificate_not_yet_valid");
        check("CA", &|leaf| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), "leaf_signs");
        check("keyCertSign", &|leaf| leaf.key_usages.push(KeyUsagePurpose::KeyCertSign), "leaf_signs");
        check("cRLSign", &|leaf| leaf.key_usages.push(KeyUsagePurpose::CrlSign), "leaf_signs");
        check(
            "for servers only",
            &|leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
            "purpose_refused",
        );
        check("for anything", &|leaf| leaf.extended_key_usages.clear(), CHECKOUT);
        let critical = |leaf: &mut CertificateParams| {
            let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
            extension.set_criticality(true);
            leaf.custom_extensions.push(extension);
        };
        check("unknown critical extension", &critical, "certificate_malformed");
    }

    #[test]
    fn a_chain_leads_to_its_own_domains_anchor() {
        let world = World::new();
        let key = KeyPair::generate().unwrap();
        let params = leaf_params(vec![uri(CHECKOUT)]);
        let check = |case: &str, issuers: &[&DevCa], wanted: &str| {
            let mut chain = issuers[0].sign(&params, &key).unwrap();
            issuers.iter().for_each(|issuer| chain.push_str(&issuer.certificate_pem));
            assert_eq!(world.call(&chain, &key, &[]), wanted, "{case}");
        };
        let names = std::cell::Cell::new(0);
        let ca_params = |change: &dyn Fn(&mut CertificateParams)| {
            let mut params = leaf_params(vec![]);
            let name = names.replace(names.get() + 1);
            params.distinguished_name.push(rcgen::DnType::CommonName, format!("intermediate {name}"));
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            change(&mut params);
            params
        };
        let first = authority(&world.ca, ca_params(&|_| {}));
        check("the root beside", &[&world.ca], CHECKOUT);
        check("one intermediate", &[&first], CHECKOUT);
        check("another domain's CA", &[&world.other], "issuer_unknown");
        check("a stranger of the same name", &[&ca("cluster.local")], "signature_invalid");
        let mute = authority(&world.ca, ca_params(&|ca| ca.key_usages = vec![KeyUsagePurpose::DigitalSignature]));
        check("an intermediate without keyCertSign", &[&mute], "issuer_may_not_sign");
        let silent = authority(&world.ca, ca_params(&|ca| ca.key_usages.clear()));
        check("an intermediate without keyUsage", &[&silent], "issuer_may_not_sign");
        let leaf = authority(&world.ca, leaf_params(vec![uri(ORDERS)]));
        check("a leaf as intermediate", &[&leaf], "issuer_may_not_sign");
        let short = authority(&world.ca, ca_params(&|ca| ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))));
        check("path length 0, kept", &[&short], CHECKOUT);
        check("path length 0, broken", &[&authority(&short, ca_params(&|_| {})), &short], "constraint_broken");
        let excluded = GeneralSubtree::DnsName("cluster.local".into());
        let narrow = authority(
            &world.ca,
            ca_params(&|ca| {
                let excluded_subtrees = vec![excluded.clone()];
                ca.name_constraints = Some(NameConstraints { permitted_subtrees: vec![], excluded_subtrees });
            }),
        );
        check("a name constraint on DNS does not bind URIs", &[&narrow], CHECKOUT);
        let mut deep = vec![first];
        while deep.len() < crate::identity::CHAIN_CERTIFICATES_MAX {
            let next = authority(deep.last().unwrap(), ca_params(&|_| {}));
            deep.push(next);
        }
        let issuers: Vec<_> = deep.iter().rev().collect();
        check("at the limit", &issuers[1..], CHECKOUT);
        check("one past the limit", &issuers, "chain_too_long");
    }

    #[test]
    fn a_revoked_or_unknown_status_is_refused() {
        let world = World::new();
        let key = KeyPair::generate().unwrap();
        let mut params = leaf_params(vec![uri(CHECKOUT)]);
        params.serial_number = Some(7_u64.into());
        let leaf = world.ca.sign(&params, &key).unwrap();
        let check = |case: &str, crls: &[&str], wanted: &str| {
            assert_eq!(world.call(&leaf, &key, crls), wanted, "{case}");
        };
        check("no list", &[], CHECKOUT);
        check("not listed", &[&crl(&world.ca, &[8], 2200)], CHECKOUT);
        check("listed", &[&crl(&world.ca, &[7], 2200)], "certificate_revoked");
        check("only another issuer's list", &[&crl(&world.other, &[8], 2200)], "revocation_unknown");
        check("a list past its nextUpdate", &[&crl(&world.ca, &[8], 2021)], "revocation_unknown");
        check("a list that a stranger signed", &[&crl(&ca("cluster.local"), &[], 2200)], "revocation_unknown");
    }

    #[test]
    fn nothing_resumes_and_post_quantum_is_offered() {
        let world = World::new();
        let server = ServerTls::new(&world.orders, world.bundles(&[])).unwrap();
        let orders = PeerId::Spiffe(SpiffeId::from_str(ORDERS).unwrap());
        let client = ClientTls::new(&svid(&world.ca, CHECKOUT), world.bundles(&[]), orders.clone()).unwrap();
        for _ in 0..2 {
            let (ours, theirs) = handshake(server.config(), client.config()).unwrap();
            assert_eq!(TlsParameters::of(&ours), TlsParameters { version: "TLSv1.3", group: "X25519MLKEM768" });
            assert_eq!(ours.handshake_kind(), Some(rustls::HandshakeKind::Full));
            assert_eq!(theirs.tls13_tickets_received(), 0);
            assert_eq!(ours.alpn_protocol(), Some(b"h2".as_slice()));
            assert_eq!(client.peer(&theirs).unwrap().id, Ok(orders.clone()));
            let peer = server.peer(&ours).unwrap();
            assert_eq!(&*peer.subject, "");
            assert_eq!(peer.leaf_sha256_hex().len(), 64);
            let left = peer.not_after.duration_since(SystemTime::now()).unwrap();
            assert!(left > Duration::from_secs(3500) && left <= Duration::from_secs(3600), "{left:?}");
        }
    }

    #[test]
    fn a_client_wants_the_one_it_calls() {
        let world = World::new();
        let client = |expected: &str| {
            let expected = PeerId::Spiffe(SpiffeId::from_str(expected).unwrap());
            ClientTls::new(&svid(&world.ca, CHECKOUT), world.bundles(&[]), expected).unwrap()
        };
        let check = |server: Svid, expected: &str, wanted: &str| {
            let server = ServerTls::new(&server, world.bundles(&[])).unwrap();
            let got = handshake(server.config(), client(expected).config());
            assert_eq!(got.map_or_else(|error| HandshakeFault::of(&error).code(), |_| "done"), wanted);
        };
        check(svid(&world.ca, ORDERS), ORDERS, "done");
        check(svid(&world.ca, ORDERS), CHECKOUT, "peer_unexpected");
        check(svid(&world.other, ORDERS), ORDERS, "issuer_unknown");
        check(svid(&world.other, "spiffe://nowhere.example/a"), "spiffe://nowhere.example/a", "peer_unexpected");
    }

    #[test]
    fn what_is_no_tls_1_3_with_a_certificate_is_refused() {
        let world = World::new();
        let server = ServerTls::new(&world.orders, world.bundles(&[])).unwrap();
        let first_bytes = |bytes: &[u8]| {
            let mut connection = ServerConnection::new(server.config()).unwrap();
            connection.read_tls(&mut &*bytes).unwrap();
            HandshakeFault::of(&connection.process_new_packets().unwrap_err()).code()
        };
        assert_eq!(first_bytes(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "not_tls");
        assert_eq!(first_bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "not_tls");
        let client_without_certificate = |alpn: &[&[u8]]| {
            let expected = Some(PeerId::Spiffe(SpiffeId::from_str(ORDERS).unwrap()));
            let verifier = Verifier { bundles: world.bundles(&[]), expected };
            let mut client = ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(&[&TLS13])
                .unwrap()
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_no_client_auth();
            client.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
            HandshakeFault::of(&handshake(server.config(), client).unwrap_err()).code()
        };
        assert_eq!(client_without_certificate(&[b"spdy/3"]), "alpn_refused");
        assert_eq!(client_without_certificate(&[b"h2"]), "certificate_missing");
    }
}
