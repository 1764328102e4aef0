//! Categories, special categories and purposes of the data map.

macro_rules! names {
    ($(#[$doc:meta])* $type:ident { $($(#[$vdoc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $type { $($(#[$vdoc])* $variant,)* }

        impl $type {
            pub const ALL: &'static [$type] = &[$($type::$variant,)*];

            /// The name used in configuration.
            pub fn name(self) -> &'static str { match self { $($type::$variant => $name,)* } }

            pub fn parse(name: &str) -> Option<Self> { match name { $($name => Some($type::$variant),)* _ => None } }
        }
    };
}

names! {
    /// What sort of personal data a place holds.
    Category {
        Identity = "identity",
        Contact = "contact",
        Test = "test",
        Financial = "financial",
        Transaction = "transaction",
        Technical = "technical",
        Profile = "profile",
        Usage = "usage",
        Marketing = "marketing",
    }
}

names! {
    /// Special categories (GDPR Art. 9) and data of the same sensitivity.
    Special {
        Health = "health",
        Genetic = "genetic",
        Ethnicity = "ethnicity",
        Religion = "religion",
        SexLife = "sex-life",
        SexualOrientation = "sexual-orientation",
        Politics = "politics",
        TradeUnion = "trade-union",
        Biometric = "biometric",
        Criminal = "criminal",
    }
}

impl Special {
    /// Whether the platform collects it at all; what is not collected is refused when it appears.
    pub fn collected(self) -> bool {
        matches!(
            self,
            Special::Health | Special::Genetic | Special::Ethnicity
        )
    }
}

names! {
    /// Why data flows on a route.
    Purpose {
        DevelopAndImprove = "develop-and-improve",
        Analytics = "analytics",
        Research = "research",
        ShareResults = "share-results",
        AdministerAndProtect = "administer-and-protect",
        Recommend = "recommend",
    }
}

impl Category {
    /// Whether what it holds points at a person, who must not be found by it outside the United
    /// Kingdom, the EEA and the adequate countries.
    pub fn is_identifiable(self) -> bool {
        matches!(
            self,
            Self::Identity
                | Self::Contact
                | Self::Financial
                | Self::Transaction
                | Self::Technical
                | Self::Profile
        )
    }
}

impl Purpose {
    /// The categories that may flow in clear for it (GDPR Art. 5(1)(b)).
    pub fn lists(self) -> &'static [Category] {
        use Category as C;
        match self {
            Self::DevelopAndImprove | Self::Research => &[C::Test],
            Self::Analytics => &[C::Technical, C::Usage],
            Self::ShareResults => &[C::Identity, C::Contact, C::Test],
            Self::AdministerAndProtect => &[C::Identity, C::Contact, C::Technical, C::Profile],
            Self::Recommend => &[
                C::Identity,
                C::Contact,
                C::Technical,
                C::Usage,
                C::Profile,
                C::Marketing,
            ],
        }
    }

    /// The lawful basis (GDPR Art. 6(1)).
    pub fn basis(self) -> &'static str {
        match self {
            Self::DevelopAndImprove | Self::Analytics | Self::Recommend => {
                "legitimate interests, Art. 6(1)(f)"
            }
            Self::Research => "public interest, Art. 6(1)(e), or consent, Art. 6(1)(a)",
            Self::ShareResults => "contract, Art. 6(1)(b)",
            Self::AdministerAndProtect => {
                "legitimate interests, Art. 6(1)(f), and legal obligation, Art. 6(1)(c)"
            }
        }
    }

    /// What must be there for special categories (GDPR Art. 9(2)); `None`: they have no place here.
    pub fn condition(self) -> Option<&'static str> {
        match self {
            Self::DevelopAndImprove | Self::Research | Self::ShareResults => {
                Some("explicit consent, Art. 9(2)(a)")
            }
            Self::Analytics | Self::AdministerAndProtect | Self::Recommend => None,
        }
    }
}

/// The United Kingdom, the EEA, and the countries that UK adequacy regulations name whole.
pub fn adequate(region: &str) -> bool {
    const REGIONS: [&str; 43] = [
        "GB", "AT", "BE", "BG", "HR", "CY", "CZ", "DK", "EE", "FI", "FR", "DE", "GR", "HU", "IS",
        "IE", "IT", "LV", "LI", "LT", "LU", "MT", "NL", "NO", "PL", "PT", "RO", "SK", "SI", "ES",
        "SE", "AD", "AR", "CH", "FO", "GG", "GI", "IL", "IM", "JE", "KR", "NZ", "UY",
    ];
    REGIONS.contains(&region)
}
