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
