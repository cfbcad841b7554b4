"""The published streams: their figures, the page that describes each, and where its file is.

In: a name. Out: a `DataSet`. It is here so that a table of results can be made again by somebody
who has nothing but the name of the stream in it.

Where the addresses come from. None of them has been tried from here (the place where this table
was written has no internet); each is one that a public project uses:

- ``Full/NAME_Meka.zip`` at the University of Córdoba (UCO): the address that the download script
  of the repository's own page builds for the choice "full data set, Meka format", and that the
  loaders of MLHAT (github.com/aestebant/mlhat, ``src/ml_datasets``) hold, with the name of the
  file in the archive. MEKA's format names the labels by ``-C n`` in the relation.
- ``IMDB-F.arff`` at SourceForge: the list of data sets in MEKA's own wiki. UCO has the same stream
  as another file, whose cardinality MLHAT states as 1.00.
- yeast comes with river, and is not downloaded.

That is why `ihomer.connectors.datasets.fetch` counts what it has downloaded and says where that
differs from the figures below.

Figures. Of the first fourteen: counted in the files that this project's results are made with
(MULAN's or MEKA's releases of the streams). Of the others: as MLHAT's table states them, which
cites UCO's (corel5k, which is not in it: as MLHAT's loader and MULAN's page do). A cardinality is
the mean number of labels of an event.

Checksums are not in here: nobody has published any. The first download's is recorded and held
(`ihomer.connectors.datasets.record`).
"""

from __future__ import annotations

from dataclasses import dataclass

from ihomer.errors import UsageError

UCO = "https://www.uco.es/kdis/mllresources/"
MULAN = "http://mulan.sourceforge.net/datasets-mlc.html"
MEKA = "https://sourceforge.net/projects/meka/files/Datasets/"
EXTREME = "http://manikvarma.org/downloads/XC/XMLRepository.html"
RIVER = "https://riverml.xyz/"

_UCO_FILES = "http://www.uco.es/grupos/kdis/MLLResources/ucobigfiles/Datasets/Full/"
_MEKA_FILES = "http://sourceforge.net/projects/meka/files/Datasets/"

_LARGEST_BYTES = 2 << 30  # what a file may have; most have a few megabytes


@dataclass(frozen=True, slots=True)
class DataSet:
    """A published stream.

    Attributes
    ----------
    name
        In lower case.
    events, features, labels
        Their numbers, before nominal features are spread over indicators.
    cardinality
        Mean number of labels of an event.
    source
        Whose file it is: ``"UCO"``, ``"MEKA"``, ``"river"``, or another word for tables.
    page
        What to open in a browser to read about it, or to get it by hand.
    citation
        Whose work it is; empty if not known.
    url
        Address of the file; None: there is none, it is got by hand from the page.
    member
        Name of the ARFF file in the archive at `url`; None: the file there is the ARFF file,
        plain or compressed.
    also
        Pages of repositories that have it in another form.
    bundled
        URI of a source that comes with an installed package, which needs no file.
    split
        Whether the stream of published results is ``NAME-train`` and then ``NAME-test``, so that
        this pair is preferred where the whole is there too.
    max_bytes
        The file, packed or unpacked, is refused beyond this size.
    """

    name: str
    events: int
    features: int
    labels: int
    cardinality: float
    source: str
    page: str
    citation: str = ""
    url: str | None = None
    member: str | None = None
    also: tuple[str, ...] = ()
    bundled: str | None = None
    split: bool = False
    max_bytes: int = _LARGEST_BYTES

    @property
    def layouts(self) -> tuple[tuple[str, ...], ...]:
        """Stems of the files that hold it, in stream order; the first layout found is taken.

        Examples
        --------
        >>> find_data_set("scene").layouts
        (('scene-train', 'scene-test'), ('scene',))
        """
        whole, pair = (self.name,), (f"{self.name}-train", f"{self.name}-test")
        return (pair, whole) if self.split else (whole, pair)


def _uco(
    name: str,
    figures: tuple[int, int, int, float],
    file: str,
    citation: str,
    also: tuple[str, ...] = (),
    split: bool = False,
) -> DataSet:
    events, features, labels, cardinality = figures
    return DataSet(
        name=name,
        events=events,
        features=features,
        labels=labels,
        cardinality=cardinality,
        source="UCO",
        page=UCO,
        citation=citation,
        url=f"{_UCO_FILES}{file}_Meka.zip",
        member=f"{file}.arff",
        also=also,
        split=split,
    )


_READ = "J. Read, Scalable multi-label classification, PhD thesis, University of Waikato, 2010"
_MMD08 = (
    "G. Tsoumakas, I. Katakis, I. Vlahavas, Effective and efficient multilabel classification in"
    " domains with large number of labels, MMD 2008"
)
_XU = (
    "J. Xu, J. Liu, J. Yin, C. Sun, A multi-label feature extraction algorithm via maximizing"
    " feature variance and feature-label dependence simultaneously, Knowledge-Based Systems, 2016"
)
_NUS = "T.-S. Chua et al., NUS-WIDE: a real-world web image database, CIVR 2009"

CATALOGUE: tuple[DataSet, ...] = (
    # The streams of this project's own tables.
    _uco(
        "flags",
        (194, 19, 7, 3.39),
        "Flags",
        "E. C. Goncalves, A. Plastino, A. A. Freitas, A genetic algorithm for optimizing the label"
        " ordering in multi-label classifier chains, ICTAI 2013",
        (MULAN,),
    ),
    _uco(
        "foodtruck",
        (407, 21, 12, 2.29),
        "Foodtruck",
        "A. Rivolli, L. C. Parker, A. de Carvalho, Food truck recommendation using multi-label"
        " classification, EPIA 2017",
    ),
    _uco(
        "cal500",
        (502, 68, 174, 26.04),
        "CAL500",
        "D. Turnbull, L. Barrington, D. Torres, G. Lanckriet, Semantic annotation and retrieval of"
        " music and sound effects, IEEE TASLP, 2008",
        (MULAN,),
    ),
    _uco(
        "emotions",
        (593, 72, 6, 1.87),
        "Emotions",
        "K. Trohidis, G. Tsoumakas, G. Kalliris, I. Vlahavas, Multi-label classification of music"
        " into emotions, ISMIR 2008",
        (MULAN, MEKA),
    ),
    _uco(
        "birds",
        (645, 260, 19, 1.01),
        "Birds",
        "F. Briggs et al., The 9th annual MLSP competition: new methods for acoustic classification"
        " of multiple simultaneous bird species in a noisy environment, MLSP 2013",
        (MULAN,),
        split=True,
    ),
    _uco(
        "medical",
        (978, 1449, 45, 1.25),
        "Medical",
        "J. P. Pestian et al., A shared task involving multi-label classification of clinical free"
        " text, BioNLP 2007",
        (MULAN, MEKA),
    ),
    _uco(
        "enron",
        (1702, 1001, 53, 3.38),
        "Enron",
        "J. Read, B. Pfahringer, G. Holmes, Multi-label classification using ensembles of pruned"
        " sets, ICDM 2008",
        (MULAN, MEKA),
    ),
    _uco(
        "scene",
        (2407, 294, 6, 1.07),
        "Scene",
        "M. R. Boutell, J. Luo, X. Shen, C. M. Brown, Learning multi-label scene classification,"
        " Pattern Recognition, 2004",
        (MULAN, MEKA),
        split=True,
    ),
    DataSet(
        name="yeast",
        events=2417,
        features=103,
        labels=14,
        cardinality=4.24,
        source="river",
        page=RIVER,
        citation="A. Elisseeff, J. Weston, A kernel method for multi-labelled classification,"
        " NIPS 2001",
        also=(UCO, MULAN, MEKA),
        bundled="river:yeast",
    ),
    _uco(
        "bibtex",
        (7395, 1836, 159, 2.40),
        "Bibtex",
        "I. Katakis, G. Tsoumakas, I. Vlahavas, Multilabel text classification for automated tag"
        " suggestion, ECML/PKDD discovery challenge, 2008",
        (MULAN, EXTREME),
    ),
    _uco("eukaryotego", (7766, 12689, 22, 1.15), "EukaryoteGO", _XU),
    _uco("delicious", (16105, 500, 983, 19.02), "Delicious", _MMD08, (MULAN, EXTREME)),
    _uco(
        "20ng",
        (19300, 1006, 20, 1.03),
        "20NG",
        "K. Lang, NewsWeeder: learning to filter netnews, ICML 1995",
        (MEKA,),
    ),
    DataSet(
        name="imdb",
        events=120919,
        features=1001,
        labels=28,
        cardinality=2.00,
        source="MEKA",
        page=MEKA,
        citation=_READ,
        url=f"{_MEKA_FILES}IMDB-F.arff/download",
        also=(UCO,),
    ),
    # More streams of the published tables.
    _uco(
        "waterquality",
        (1060, 16, 14, 5.07),
        "Water-quality",
        "H. Blockeel, S. Dzeroski, J. Grbovic, Simultaneous prediction of multiple chemical"
        " parameters of river water quality with TILDE, PKDD 1999",
    ),
    _uco("virusgo", (207, 749, 6, 1.22), "VirusGO", _XU),
    _uco("gnegative", (1392, 440, 8, 1.05), "GnegativePseAAC", _XU),
    _uco("plant", (978, 440, 12, 1.08), "PlantPseAAC", _XU),
    _uco("human", (3106, 440, 14, 1.19), "HumanPseAAC", _XU),
    _uco(
        "yelp",
        (10806, 671, 5, 1.64),
        "Yelp",
        "H. Sajnani, V. Saini, K. Kumar, E. Gabrielova, P. Choudary, C. Lopes, Classifying Yelp"
        " reviews into relevant categories, 2013",
    ),
    _uco("eukaryote", (7766, 440, 22, 1.15), "EukaryotePseAAC", _XU),
    _uco("slashdot", (3782, 1079, 22, 1.18), "Slashdot", _READ, (MEKA,)),
    _uco(
        "hypercube",
        (100000, 100, 10, 1.00),
        "Hypercube",
        "",
    ),
    _uco("langlog", (1460, 1004, 75, 15.94), "Langlog", _READ, (MEKA,)),
    _uco(
        "stackex",
        (1675, 585, 227, 2.41),
        "Stackex_chess",
        "F. Charte, D. Charte, Working with multilabel datasets in R: the mldr package, The R"
        " Journal, 2015",
    ),
    _uco(
        "tmc",
        (28596, 500, 22, 2.22),
        "tmc2007-500",
        "A. Srivastava, B. Zane-Ulman, Discovering recurring anomalies in text reports regarding"
        " complex space systems, IEEE Aerospace Conference, 2005",
        (MULAN, MEKA),
    ),
    _uco(
        "ohsumed",
        (13929, 1002, 23, 0.81),
        "Ohsumed",
        "T. Joachims, Text categorization with support vector machines: learning with many relevant"
        " features, ECML 1998",
        (MEKA,),
    ),
    _uco(
        "mediamill",
        (43907, 120, 101, 4.38),
        "Mediamill",
        "C. G. M. Snoek et al., The challenge problem for automated detection of 101 semantic"
        " concepts in multimedia, ACM Multimedia, 2006",
        (MULAN, EXTREME),
    ),
    _uco(
        "corel5k",
        (5000, 499, 374, 3.52),
        "Corel5k",
        "P. Duygulu, K. Barnard, N. de Freitas, D. Forsyth, Object recognition as machine"
        " translation: learning a lexicon for a fixed image vocabulary, ECCV 2002",
        (MULAN,),
    ),
    _uco(
        "corel16k",
        (13766, 500, 153, 2.86),
        "Corel16k001",
        "K. Barnard et al., Matching words and pictures, JMLR, 2003",
        (MULAN,),
    ),
    _uco("nuswidec", (269648, 129, 81, 1.87), "Nuswide_cVLADplus", _NUS, (MULAN,)),
    _uco("nuswideb", (269648, 501, 81, 1.87), "Nuswide_BoW", _NUS, (MULAN,)),
    _uco(
        "yahoosociety",
        (14512, 31802, 27, 1.67),
        "Yahoo_Society",
        "N. Ueda, K. Saito, Parametric mixture models for multi-labeled text, NIPS 2002",
        (MULAN,),
    ),
    _uco(
        "eurlex",
        (19348, 5000, 201, 2.21),
        "Eurlex-sm",
        "E. Loza Mencia, J. Fuernkranz, Efficient pairwise multilabel classification for"
        " large-scale problems in the legal domain, ECML/PKDD 2008",
        (MULAN,),
    ),
)


def find_data_set(name: str, catalogue: tuple[DataSet, ...] = CATALOGUE) -> DataSet:
    """The entry called `name`, in either case.

    Raises
    ------
    UsageError
        There is none.

    Examples
    --------
    >>> find_data_set("Scene").events
    2407
    """
    for data_set in catalogue:
        if data_set.name == name.lower():
            return data_set
    raise UsageError(
        f"{name}: found no data set of this name, accepted:"
        f" {', '.join(data_set.name for data_set in catalogue)}"
    )
